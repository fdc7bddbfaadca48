// Package supervise keeps one child process for each role alive.
//
// A child that ends by itself is started again, with the same arguments and the
// same inherited sockets, until it is stopped. All that one child ever starts
// hangs on one lifeline, which outlasts the child's own
// deaths but not this process: however this process ends, kill -9 included,
// what the child and its successors left behind ends too.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"ringway/agent/lifeline"
)

// Spec is one child.
type Spec struct {
	Name        string
	Path        string          // of the executable
	Args        func() []string // asked at every start
	Sockets     []*os.File      // inherited from FirstFile on; Run closes ours when it shall stop
	Files       []*os.File      // inherited after the sockets
	Log         string          // file that gets its stdout and stderr
	ByLifeline  bool            // it is stopped by its lifeline; otherwise by SIGTERM
	StopTimeout time.Duration   // between that and SIGKILL
}

// FirstFile is the descriptor of the first of Spec.Sockets and Spec.Files in
// the child; the one before it is the lifeline.
const FirstFile = 4

// What happened to a child.
const (
	Started = "started"
	Failed  = "failed"  // could not be started
	Died    = "died"    // ended by itself
	Stopped = "stopped" // ended when it was stopped
	Killed  = "killed"  // did not end within its StopTimeout
)

// Report is what happened to a child. Next is the wait until it is started
// again, after Failed and Died.
type Report struct {
	Name string
	What string
	PID  int
	Err  error // how it ended; nil for exit code 0
	Runs int   // starts so far
	Next time.Duration
}

// Child is one supervised process after another.
type Child struct {
	spec   Spec
	back   Backoff
	report func(Report)
	root   *lifeline.Root
	kill   chan struct{}
	once   sync.Once

	mu  sync.Mutex
	pid int
}

// New makes a child and starts nothing. It calls report, from Run's goroutine,
// for everything that happens.
func New(spec Spec, back Backoff, report func(Report)) (*Child, error) {
	root, err := lifeline.New()
	if err != nil {
		return nil, fmt.Errorf("supervise %s: %w", spec.Name, err)
	}
	return &Child{spec: spec, back: back, report: report, root: root, kill: make(chan struct{})}, nil
}

// Name is what the child is called.
func (c *Child) Name() string { return c.spec.Name }

// Log is the file with the output of the child.
func (c *Child) Log() string { return c.spec.Log }

// PID is the process that runs now, 0 when none does.
func (c *Child) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

// Kill ends the child at once and for good. It may be called at any time.
func (c *Child) Kill() { c.once.Do(func() { close(c.kill) }) }

// Run keeps the child running until ctx ends or Kill is called, then stops it
// and returns when it is gone. Call it once.
func (c *Child) Run(ctx context.Context) {
	defer func() { _ = c.root.Close() }() // closed already if the child was cut
	defer c.release()
	fails := 0
	for runs := 1; !c.ending(ctx); runs++ {
		began := time.Now()
		r := c.runOnce(ctx)
		r.Name, r.Runs = c.spec.Name, runs
		if c.ending(ctx) {
			c.report(r)
			return
		}
		if time.Since(began) >= c.back.Healthy {
			fails = 0
		}
		r.Next = c.back.Wait(fails)
		fails++
		c.report(r)
		select {
		case <-time.After(r.Next):
		case <-ctx.Done():
		case <-c.kill:
		}
	}
}

func (c *Child) ending(ctx context.Context) bool {
	select {
	case <-c.kill:
		return true
	default:
		return ctx.Err() != nil
	}
}

// runOnce starts the child once and waits for its end.
func (c *Child) runOnce(ctx context.Context) Report {
	cmd, err := c.start()
	if err != nil {
		return Report{What: Failed, Err: err}
	}
	c.setPID(cmd.Process.Pid)
	defer c.setPID(0)
	c.report(Report{Name: c.spec.Name, What: Started, PID: cmd.Process.Pid})

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return Report{What: Died, PID: cmd.Process.Pid, Err: err}
	case <-c.kill:
	case <-ctx.Done():
		c.release()
		if r, ok := c.stop(cmd, ended); ok {
			return r
		}
	}
	_ = c.root.Close()     // whatever it started must not outlive it
	_ = cmd.Process.Kill() // fails only if it is gone already
	return Report{What: Killed, PID: cmd.Process.Pid, Err: <-ended}
}

// release closes our copies of the sockets: from now on the child decides
// how long there is somebody to connect to. Only Run's goroutine may do so,
// for it is the one that passes them on.
func (c *Child) release() {
	for _, s := range c.spec.Sockets {
		_ = s.Close() // nothing was written to it; it may be closed already
	}
}

// stop asks the child to end and reports whether it did.
func (c *Child) stop(cmd *exec.Cmd, ended <-chan error) (Report, bool) {
	if c.spec.ByLifeline {
		_ = c.root.Close()
	} else {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it is gone already
	}
	timeout := time.NewTimer(c.spec.StopTimeout)
	defer timeout.Stop()
	select {
	case err := <-ended:
		return Report{What: Stopped, PID: cmd.Process.Pid, Err: err}, true
	case <-timeout.C:
	case <-c.kill:
	}
	return Report{}, false
}

func (c *Child) start() (*exec.Cmd, error) {
	out, err := openLog(c.spec.Log)
	if err != nil {
		// A full or broken disk must not keep a role from running.
		if out, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
	}
	defer func() { _ = out.Close() }() // ours; the child has its own
	cmd := exec.Command(c.spec.Path, c.spec.Args()...)
	cmd.Args[0] = "ringway"
	cmd.Env = os.Environ()
	cmd.Stdout, cmd.Stderr = out, out
	// Its own process group: the ctrl-C of a terminal is for us alone, who then
	// stop the children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.root.Attach(cmd)
	cmd.ExtraFiles = append(append(cmd.ExtraFiles, c.spec.Sockets...), c.spec.Files...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func (c *Child) setPID(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

// DescribeExit is how a process ended, for people.
func DescribeExit(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit code 0"
	case !errors.As(err, &exit):
		return err.Error()
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", exit.ExitCode())
}

// ExitCode is that of a process that ended by itself, -1 of any other.
func ExitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
