package process_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
)

// hold starts a process that holds a script, and returns the first line that
// the script says.
func hold(t *testing.T, grace string, argv ...string) (holder *exec.Cmd, said string, rest *bufio.Reader) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	holder = exec.Command(os.Args[0], append([]string{"hold", "--"}, argv...)...)
	holder.Env = append(os.Environ(), agent.EnvInstance+"=S1", agent.EnvGrace+"="+grace)
	holder.Stdout, holder.Stderr = write, write
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if err := read.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	rest = bufio.NewReader(read)
	said, _ = rest.ReadString('\n')
	return holder, strings.TrimSpace(said), rest
}

func TestHold_PassesTheStatusOn(t *testing.T) {
	f := func(want int, argv ...string) {
		t.Helper()
		holder, _, _ := hold(t, "1s", argv...)
		_ = holder.Wait()
		if got := holder.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: status %d, want %d", argv, got, want)
		}
	}
	f(0, "/bin/sh", "-c", "echo; exit 0")
	f(3, "/bin/sh", "-c", "echo; exit 3")
	f(137, "/bin/sh", "-c", "echo; kill -9 $$")
	f(127, "/no/such/command")
	f(2)
}

func TestHold_PassesSIGTERMOnAndThenEndsTheStubborn(t *testing.T) {
	holder, said, _ := hold(t, "1m", "/bin/sh", "-c", `trap "exit 5" TERM; echo up; while :; do sleep 0.05; done`)
	if said != "up" {
		t.Fatalf("said %q", said)
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if got := holder.ProcessState.ExitCode(); got != 5 {
		t.Errorf("status %d, want 5", got)
	}
	holder, said, _ = hold(t, "100ms", "/bin/sh", "-c", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
	if said != "up" {
		t.Fatalf("said %q", said)
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	if got := holder.ProcessState.ExitCode(); got != 137 {
		t.Errorf("status %d, want 137", got)
	}
}

// The command holds the other end of the pipe: it is closed when it is gone.
func TestHold_KilledTakesTheCommandAlong(t *testing.T) {
	holder, said, rest := hold(t, "1m", "/bin/sh", "-c", `echo $$; exec sleep 600`)
	if _, err := strconv.Atoi(said); err != nil {
		t.Fatalf("said %q", said)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := rest.ReadByte(); err != io.EOF {
		t.Fatalf("the command runs on: %v", err)
	}
}
