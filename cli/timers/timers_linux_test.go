package timers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain plays the process that makes itself coarse, and says what became of it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "coarsen" {
		Coarsen()
		report()
		return
	}
	os.Exit(m.Run())
}

func report() {
	var slacks [8]time.Duration
	var here, done sync.WaitGroup
	here.Add(len(slacks))
	for i := range slacks {
		done.Go(func() {
			runtime.LockOSThread() // a thread of its own, which ends with it
			slacks[i] = slack()
			here.Done()
			here.Wait()
		})
	}
	done.Wait()
	comm, _ := os.ReadFile("/proc/self/comm")
	given, err := io.ReadAll(os.NewFile(3, "given"))
	fmt.Printf("%d %v %q %s %q %v", os.Getpid(), slacks, os.Args[1:], strings.TrimSpace(string(comm)), given, err)
}

// run has a process report that a thread with this slack has started.
func run(t *testing.T, slack time.Duration) (pid int, said string) {
	t.Helper()
	given, give, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	if _, err := give.WriteString("a descriptor"); err != nil {
		t.Fatal(err)
	}
	_ = give.Close()
	cmd := exec.Command(os.Args[0], "coarsen", "with an argument", "")
	cmd.ExtraFiles = []*os.File{given}
	cmd.Stderr = os.Stderr
	var out strings.Builder
	cmd.Stdout = &out
	func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(usual), 0, 0, 0) }() // it could be set just now
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, out.String()
}

func TestCoarsen_GivesAllThreadsTheSlackAndKeepsWhatTheProcessHas(t *testing.T) {
	f := func(from, want time.Duration) {
		t.Helper()
		pid, said := run(t, from)
		var all [8]time.Duration
		for i := range all {
			all[i] = want
		}
		name := filepath.Base(os.Args[0])
		if want := fmt.Sprintf(`%d %v ["coarsen" "with an argument" ""] %s "a descriptor" <nil>`, pid, all, name[:min(len(name), 15)]); said != want {
			t.Errorf("from %s: got %s, want %s", from, said, want)
		}
	}
	f(usual, Slack)
	f(Slack, Slack)
	f(time.Millisecond, time.Millisecond) // somebody's choice
}
