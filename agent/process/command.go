package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
)

// RunCommand runs argv, which knows nothing of lifelines, and returns its exit
// status; a command that a signal ended gives 128 and the number, as in a
// shell. When ctx or the lifeline ends it passes SIGTERM on, and SIGKILL after
// the grace period in the environment. If this process is killed, the kernel
// kills the command.
func RunCommand(ctx context.Context, line *lifeline.Line, argv []string) (int, error) {
	if len(argv) == 0 {
		return 2, errors.New("hold: no command; write it after --")
	}
	grace, err := time.ParseDuration(os.Getenv(agent.EnvGrace))
	if err != nil {
		grace = 5 * time.Second
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The death signal comes when the thread ends that forked, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("hold: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status is in ProcessState
		close(ended)
	}()
	done, closed := ctx.Done(), line.Closed()
	var kill <-chan time.Time
	for {
		select {
		case <-ended:
			return status(cmd.ProcessState), nil
		case <-kill:
			_ = cmd.Process.Kill()
			continue
		case <-done:
			done = nil
		case <-closed:
			closed = nil
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if kill == nil {
			kill = time.After(grace)
		}
	}
}

func status(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
