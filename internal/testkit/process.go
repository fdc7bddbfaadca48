package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ringway/events/bus/server"
)

const (
	busStore  = "RINGWAY_TEST_BUS_STORE"
	busListen = "RINGWAY_TEST_BUS_LISTEN"
)

// ServeBus has to be the first thing in the TestMain of a package that calls
// StartBusProcess, which starts the test's binary again: in that process it is
// the bus until the parent ends, and returns true.
func ServeBus() bool {
	store := os.Getenv(busStore)
	if store == "" {
		return false
	}
	cfg := server.DefaultConfig()
	cfg.Store, cfg.Listen = store, os.Getenv(busListen)
	s, err := server.Start(cfg, Quiet)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	s.Shutdown()
	return true
}

// BusProcess is a bus that can be killed, and started again on its port.
type BusProcess struct {
	Store string

	t      testing.TB
	listen string
	cmd    *exec.Cmd
	stdin  io.Closer
}

// StartBusProcess starts a bus with a new store in a process of its own, until
// the test ends.
func StartBusProcess(t testing.TB) *BusProcess {
	t.Helper()
	b := &BusProcess{Store: t.TempDir(), t: t, listen: Address(t)}
	Must(t, b.start())
	t.Cleanup(b.Kill)
	return b
}

// URL is where clients find it.
func (b *BusProcess) URL() string { return "nats://" + b.listen }

// Start starts it again where it was, after a Kill.
func (b *BusProcess) Start() {
	b.t.Helper()
	Eventually(b.t, b.start) // as for Bus.Start
}

func (b *BusProcess) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	b.cmd = exec.Command(exe)
	b.cmd.Env = append(os.Environ(), busStore+"="+b.Store, busListen+"="+b.listen)
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "nats://")
	if err != nil || !ok {
		b.Kill()
		return errors.Join(fmt.Errorf("the bus prints %q", line), err)
	}
	b.listen = address
	return nil
}

// Kill ends it as a crash does.
func (b *BusProcess) Kill() {
	_ = b.cmd.Process.Kill() // it may have ended
	_ = b.cmd.Wait()         // reports that it was killed
	_ = b.stdin.Close()
}

// Pause freezes it until thaw or the test's end.
func (b *BusProcess) Pause() (thaw func()) {
	b.t.Helper()
	p := b.cmd.Process
	Must(b.t, p.Signal(syscall.SIGSTOP))
	// The signal is on its way to every thread for some time.
	Eventually(b.t, func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil || len(threads) == 0 {
			return errors.Join(fmt.Errorf("%d threads", len(threads)), err)
		}
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err != nil || !bytes.Contains(stat, []byte(") T ")) {
				return errors.Join(fmt.Errorf("thread is not stopped: %s", stat), err)
			}
		}
		return nil
	})
	thaw = sync.OnceFunc(func() {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(thaw)
	return thaw
}
