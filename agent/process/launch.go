package process

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ringway/agent"
	"ringway/events"
	"ringway/internal/proc"
	"ringway/internal/statedir"
)

// Variables that are this runtime's own, beside those of package agent.
const (
	envState = "RINGWAY_STATE" // directory of the records
	envMark  = "RINGWAY_MARK"  // of this one start
)

// launch starts c: intent, fork, record. After an error nothing runs.
func (r *Runtime) launch(c *child) error {
	if v := c.record.Spec.Volume; v != "" {
		if err := statedir.MakeDir(r.cfg.volumePath(v), 0o700); err != nil {
			return fmt.Errorf("make volume %s: %w", v, err)
		}
	}
	if err := r.write(c.record); err != nil {
		return err
	}
	cmd, err := r.fork(c.record)
	if err != nil {
		return err
	}
	rec := c.record
	rec.PID = cmd.Process.Pid
	if err = c.attach(rec.PID); err == nil {
		var p proc.Stat
		if p, err = proc.Read(rec.PID); err == nil {
			rec.Ticks = p.Ticks
			err = r.write(rec)
		}
	}
	if err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // killed by the line above
		c.release()
		return err
	}
	r.mu.Lock()
	c.cmd, c.record = cmd, rec
	r.mu.Unlock()
	return nil
}

func (r *Runtime) fork(rec record) (*exec.Cmd, error) {
	log, err := os.OpenFile(r.logPath(rec.Spec.Name), os.O_WRONLY|os.O_CREATE|os.O_APPEND|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(r.cfg.Binary, arguments(r.cfg, rec)...)
	cmd.Env = environment(r.cfg, rec)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ctrl-C in our terminal is not meant for it
	r.line.Attach(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func arguments(cfg Config, rec record) []string {
	listen := net.JoinHostPort(rec.IP, strconv.Itoa(rec.Port))
	switch {
	case len(rec.Spec.Command) > 0:
		log := filepath.Join(cfg.Dir, "logs", rec.Spec.Name+".log")
		hold := []string{"hold", "--output", log, "--max-output", strconv.FormatInt(cfg.MaxLog, 10), "--"}
		return append(hold, agent.Argv(rec.Spec, rec.Port)...)
	case rec.Spec.Kind == events.KindShard:
		return agent.ShardArguments(rec.Spec, listen, cfg.volumePath(rec.Spec.Volume), cfg.NATS)
	}
	return []string{"server", "--id", rec.Spec.Name, "--listen", listen}
}

// environment is ours without the variables meant for this process, then the
// instance's.
func environment(cfg Config, rec record) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "RINGWAY_") && !strings.HasPrefix(kv, "RINGWAY_FAIL=")
	})
	env = append(env, agent.Environment(rec.Spec, cfg.Host, rec.Port, cfg.volumePath(rec.Spec.Volume))...)
	return append(env, envState+"="+cfg.Dir, envMark+"="+rec.Mark)
}

// freePort picks at random, so that the next instance does not get the address
// under which routers may still know the last one.
func freePort(cfg Config, taken map[int]bool) (int, error) {
	low, high := ephemeral()
	n := cfg.PortHigh - cfg.PortLow + 1
	if n <= 0 {
		return 0, fmt.Errorf("no port in %d-%d", cfg.PortLow, cfg.PortHigh)
	}
	for range 2000 {
		port := cfg.PortLow + rand.IntN(n)
		if taken[port] || port >= low && port <= high {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(cfg.IP, strconv.Itoa(port)))
		if err == nil {
			_ = l.Close() // only tried
			return port, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("found no free port in %d-%d (outgoing connections use %d-%d)", cfg.PortLow, cfg.PortHigh, low, high)
}

// ephemeral is the range of ports that an outgoing connection may take between
// our try and the instance's bind.
func ephemeral() (low, high int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 32768, 60999 // the kernel's default
	}
	if _, err := fmt.Sscan(string(b), &low, &high); err != nil {
		return 32768, 60999
	}
	return low, high
}

// lastLogError is what an instance's log ends with, if that is an error.
func (r *Runtime) lastLogError(name string) string {
	return agent.LastLogError(bytes.NewReader(logEnd(r.logPath(name), 4096)))
}

// keptLogs is how many logs of forgotten instances are kept.
const keptLogs = 32

// trimLogs bounds the logs: of each instance, and of those that are gone.
func (r *Runtime) trimLogs() {
	paths, _ := filepath.Glob(r.logPath("*")) // the pattern is well-formed
	var gone []string
	changed := map[string]time.Time{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		// Those of commands never get that long.
		if info.Size() > r.cfg.MaxLog/2 {
			if err := cutLog(path, r.cfg.MaxLog); err != nil {
				r.log.Warn("cannot move a log aside", "path", path, events.KeyError, err)
			}
		}
		r.mu.Lock()
		_, known := r.children[strings.TrimSuffix(filepath.Base(path), ".log")]
		r.mu.Unlock()
		if !known {
			gone = append(gone, path)
			changed[path] = info.ModTime()
		}
	}
	slices.SortFunc(gone, func(a, b string) int { return changed[b].Compare(changed[a]) })
	for _, path := range gone[min(len(gone), keptLogs):] {
		_ = os.Remove(path)
		_ = os.Remove(path + ".old")
	}
}
