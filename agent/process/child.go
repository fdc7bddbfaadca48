package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is one instance: ours, or adopted from an agent before.
type child struct {
	name     string
	record   record // guarded by Runtime.mu, as launched is
	launched bool

	pidfd   *os.File      // nil until launched, and of one found dead
	cmd     *exec.Cmd     // nil if adopted: another process reaps it
	settled chan struct{} // closed when it has ended and that is recorded
	forget  sync.Mutex

	ending sync.Mutex // signals to the group, against the reaping of its leader
	ended  bool
}

func newChild(rec record) *child {
	return &child{name: rec.Spec.Name, record: rec, settled: make(chan struct{})}
}

// attach opens the pidfd of pid, which must not have been reaped yet or must
// be checked again after.
func (c *child) attach(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	c.pidfd = os.NewFile(uintptr(fd), "pidfd")
	return nil
}

func (c *child) release() {
	if c.pidfd != nil {
		_ = c.pidfd.Close() // nothing was written
	}
}

// wait returns true when the process has ended, false after interrupt.
func (c *child) wait() bool {
	conn, err := c.pidfd.SyscallConn()
	if err != nil {
		return false // closed
	}
	// A pidfd is readable when its process has ended, reaped or not.
	return conn.Read(func(fd uintptr) bool { return readable(int(fd)) }) == nil
}

func (c *child) interrupt() { _ = c.pidfd.SetReadDeadline(time.Unix(1, 0)) }

// reap collects the status of a process that has ended; withError: it
// exited with an error of its own, which its log may explain.
func (c *child) reap() (detail string, withError bool) {
	c.ending.Lock()
	defer c.ending.Unlock()
	c.ended = true
	if c.cmd == nil {
		return "ended; an earlier agent started it, so its status is unknown", false
	}
	// What it left in its group ends with it. The leader is a zombie until
	// Wait, so the number of the group is still its own.
	_ = unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL)
	_ = c.cmd.Wait() // the status is in ProcessState
	return ending(c.cmd.ProcessState, len(c.record.Spec.Command) > 0)
}

// ending describes how a process ended. The end of the log of one that was
// killed has nothing to do with its death. RunCommand, which runs commands,
// passes on the signal that ended one as a status above 128.
func ending(s *os.ProcessState, held bool) (detail string, withError bool) {
	code := s.ExitCode()
	if sig := syscall.Signal(code - 128); held && unix.SignalName(sig) != "" {
		return fmt.Sprintf("%s (signal: %s)", s, sig), false
	}
	return s.String(), s.Exited() && code != 0
}

// end stops the process and returns when its end is recorded.
func (c *child) end(ctx context.Context, grace time.Duration) error {
	if c.pidfd != nil {
		c.signal(unix.SIGTERM)
		c.signal(unix.SIGCONT) // a stopped process does not handle SIGTERM
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		select {
		case <-c.settled:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			c.kill()
		}
	}
}

// signal reaches this process or nobody: a pidfd is never recycled.
func (c *child) signal(sig syscall.Signal) {
	if conn, err := c.pidfd.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	}
}

// kill ends the whole group at once.
func (c *child) kill() {
	c.ending.Lock()
	defer c.ending.Unlock()
	if c.ended || c.pidfd == nil {
		return
	}
	conn, err := c.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		if !readable(int(fd)) { // the leader lives: the number of the group is its own
			_ = unix.Kill(-c.record.PID, unix.SIGKILL)
		}
	})
}

func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}
