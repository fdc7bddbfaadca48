package agent

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"ringway/events"
)

// send leaves a heartbeat for the publisher, in place of one that it did not take.
func (a *Agent) send(heartbeat events.HostHeartbeat) {
	select {
	case <-a.heartbeats:
	default:
	}
	a.heartbeats <- heartbeat
}

// publish sends heartbeats. One that fails is dropped: the next one replaces it.
func (a *Agent) publish(work context.Context) {
	subject, away := events.AgentSubject(a.cfg.Host), false
	for {
		select {
		case <-work.Done():
			return
		case heartbeat := <-a.heartbeats:
			heartbeat.Sent, heartbeat.Load = time.Now().UTC(), load()
			err := a.bus.Publish(subject, heartbeat)
			switch {
			case err != nil && !away:
				a.log.Warn("heartbeats do not go out", events.KeyError, err)
			case err == nil && away:
				a.log.Info("heartbeats go out again")
			}
			away = err != nil
		}
	}
}

// load leaves out what the kernel does not report.
func load() events.Load {
	l := events.Load{CPUs: runtime.NumCPU()}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(b), &l.Load1) // 0 if it is no number
	}
	if f, err := os.Open("/proc/meminfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var kib uint64
			if n, _ := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); n == 1 {
				l.Memory = kib << 10
			}
			if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 {
				l.Free = kib << 10
				break
			}
		}
	}
	return l
}
