package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a program that is measured.
type process struct {
	cmd    *exec.Cmd
	lines  chan string   // what it printed
	stderr bytes.Buffer  // read it after the end, like
	end    error         // how it ended
	ended  chan struct{} // closed when it has
}

// startProcess starts a program in a group of its own: ctrl-C is ours to pass on.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, lines: make(chan string, 16), ended: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	printed := bufio.NewScanner(out)
	go func() {
		defer close(p.ended)
		for printed.Scan() {
			select {
			case p.lines <- printed.Text():
			default: // it has been ready for long
			}
		}
		p.end = cmd.Wait()
	}()
	return p, nil
}

// await returns when ready holds for a line that it printed, or for an empty one,
// with which it is asked now and then. A process that is not ready is stopped.
func (p *process) await(ctx context.Context, atMost time.Duration, ready func(line string) bool) error {
	late, look := time.After(atMost), time.NewTicker(20*time.Millisecond)
	defer look.Stop()
	var err error
	for err == nil {
		line := ""
		select {
		case line = <-p.lines:
		case <-look.C:
		case <-p.ended:
			err = fmt.Errorf("it ended: %v", p.end)
		case <-late:
			err = fmt.Errorf("it was not ready within %s", atMost)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil && ready(line) {
			return nil
		}
	}
	p.stop()
	return fmt.Errorf("%s: %w\n%s", p.cmd, err, &p.stderr)
}

// stop stops it as ctrl-C does, and makes it after a minute.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // fails if it has ended
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}
