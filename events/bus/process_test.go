package bus_test

import (
	"os/exec"
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
	thaw = sync.OnceFunc(func() {
		if err := p.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(thaw)
	return thaw
}
