package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/internal/proc"
)

// Output is where what a command prints goes. Without a path that is where the
// output of this process goes.
type Output struct {
	Path string // of a log; what it had before is in PATH.old
	Max  int64  // bytes of both
}

// RunCommand runs argv, which knows nothing of lifelines, and returns its exit
// status; a command that a signal ended gives 128 and the number, as in a
// shell. When ctx or the lifeline ends it sends SIGTERM to all processes of
// the command's group, which have the grace period in the environment, and
// SIGKILL to those that are left then. If this process is killed, the kernel
// kills the command.
func RunCommand(ctx context.Context, line *lifeline.Line, out Output, argv []string) (int, error) {
	if len(argv) == 0 {
		return 2, errors.New("hold: no command; write it after --")
	}
	grace, err := time.ParseDuration(os.Getenv(agent.EnvGrace))
	if err != nil {
		grace = 5 * time.Second
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	finish, err := out.connect(cmd)
	if err != nil {
		return 127, fmt.Errorf("hold: %w", err)
	}
	// Orphans of the command become ours, so that their ends are seen, and reaped.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 127, errors.Join(fmt.Errorf("hold: take care of orphans: %w", err), finish())
	}
	// The agent kills our group, so the command is to be in it. If ours is somebody
	// else's, a script's for example, the command gets one of its own.
	own := unix.Getpgrp() == os.Getpid()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !own}
	// The death signal comes when the thread ends that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 127, errors.Join(fmt.Errorf("hold: %w", err), finish())
	}
	c := command{pid: cmd.Process.Pid, group: cmd.Process.Pid}
	if own {
		c.group = os.Getpid()
	}
	return c.run(ctx.Done(), line.Closed(), grace), finish()
}

// command is one that runs.
type command struct {
	pid   int
	group int // of it and its children
}

// run returns the status of the command when that has ended or, once it was asked
// to end, when nothing of its group is left.
func (c command) run(done, closed <-chan struct{}, grace time.Duration) int {
	reaped := make(chan int)
	go c.reap(reaped)
	var kill, look <-chan time.Time
	code, asked, killed := -1, false, false
	for {
		select {
		case status := <-reaped:
			code = max(code, status)
		case <-look: // not all of the group need to be our children
		case <-kill:
			killed = true
		case <-done:
			done = nil
		case <-closed:
			closed = nil
		}
		if !asked && (done == nil || closed == nil) {
			asked = true
			c.ask()
			kill, look = time.After(grace), time.Tick(100*time.Millisecond)
		}
		if killed {
			c.kill()
		}
		if code >= 0 && (!asked || len(c.members()) == 0) {
			return code
		}
	}
}

// reap collects whatever ends among our children, and sends the status of the
// command, and -1 for another.
func (c command) reap(reaped chan<- int) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return // there are no more
		case pid != c.pid:
			reaped <- -1
		case status.Signaled():
			reaped <- 128 + int(status.Signal())
		default:
			reaped <- status.ExitStatus()
		}
	}
}

// ask sends SIGTERM to all at once. A stopped process does not handle it.
func (c command) ask() {
	signal.Ignore(syscall.SIGTERM) // this process may be of the group
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		_ = unix.Kill(-c.group, sig)
		if p, err := proc.Read(c.pid); err == nil && !p.Dead && p.Group != c.group { // it has left
			_ = unix.Kill(c.pid, sig)
		}
	}
}

func (c command) kill() {
	for _, pid := range append(c.members(), c.pid) {
		if p, err := proc.Read(pid); err == nil && !p.Dead {
			_ = unix.Kill(pid, syscall.SIGKILL)
		}
	}
}

// members are the processes of the group that have not ended, without this one.
func (c command) members() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc") // what could be read counts
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if p, err := proc.Read(pid); err == nil && p.Group == c.group && !p.Dead {
			pids = append(pids, pid)
		}
	}
	return pids
}

// connect gives cmd its output. finish is to be called when cmd has ended, or was not
// started; it returns when all that was printed until then is in the log.
func (o Output) connect(cmd *exec.Cmd) (finish func() error, err error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if o.Path == "" {
		return func() error { return nil }, nil
	}
	log, err := openOutput(o.Path, o.Max)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.file.Close())
	}
	cmd.Stdout, cmd.Stderr = write, write
	copied := make(chan struct{})
	go func() {
		log.copyFrom(read)
		close(copied)
	}()
	return func() error {
		_ = write.Close() // our own end of it: nothing is lost
		_ = read.SetReadDeadline(time.Unix(1, 0))
		select {
		case <-copied:
		case <-time.After(time.Second): // the disk hangs; the end of a process is not to
			return nil
		}
		return errors.Join(read.Close(), log.file.Close())
	}, nil
}
