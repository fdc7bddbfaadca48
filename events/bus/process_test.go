package bus_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// killProcess ends a bus as a crash does.
func killProcess(t *testing.T, p *exec.Cmd) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // says that it was killed
}

// pauseProcess freezes a bus until thaw or the test's end.
func pauseProcess(t *testing.T, p *exec.Cmd) (thaw func()) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal is on its way to every thread for some time.
	eventually(t, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Process.Pid))
		if err != nil || len(threads) == 0 {
			return fmt.Errorf("%d threads: %w", len(threads), err)
		}
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err != nil || !bytes.Contains(stat, []byte(") T ")) {
				return fmt.Errorf("thread is not stopped: %s %w", stat, err)
			}
		}
		return nil
	})
	thaw = sync.OnceFunc(func() {
		if err := p.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(thaw)
	return thaw
}
