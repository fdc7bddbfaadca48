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
func runCommand(t *testing.T, grace string, argv ...string) (parent *exec.Cmd, output string, rest *bufio.Reader) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	parent = exec.Command(os.Args[0], append([]string{"hold", "--"}, argv...)...)
	parent.Env = append(os.Environ(), agent.EnvInstance+"=S1", agent.EnvGrace+"="+grace)
	parent.Stdout, parent.Stderr = write, write
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if err := read.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Process.Kill(); _ = parent.Wait() })
	rest = bufio.NewReader(read)
	output, _ = rest.ReadString('\n')
	return parent, strings.TrimSpace(output), rest
}

func TestRunCommand_PassesTheStatusOn(t *testing.T) {
	f := func(want int, argv ...string) {
		t.Helper()
		parent, _, _ := runCommand(t, "1s", argv...)
		_ = parent.Wait()
		if got := parent.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: status %d, want %d", argv, got, want)
		}
	}
	f(0, "/bin/sh", "-c", "echo; exit 0")
	f(3, "/bin/sh", "-c", "echo; exit 3")
	f(137, "/bin/sh", "-c", "echo; kill -9 $$")
	f(127, "/no/such/command")
	f(2)
}

func TestRunCommand_PassesSIGTERMOnAndThenKills(t *testing.T) {
	parent, output, _ := runCommand(t, "1m", "/bin/sh", "-c", `trap "exit 5" TERM; echo up; while :; do sleep 0.05; done`)
	if output != "up" {
		t.Fatalf("said %q", output)
	}
	if err := parent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if got := parent.ProcessState.ExitCode(); got != 5 {
		t.Errorf("status %d, want 5", got)
	}
	parent, output, _ = runCommand(t, "100ms", "/bin/sh", "-c", `trap "" TERM; echo up; while :; do sleep 0.05; done`)
	if output != "up" {
		t.Fatalf("said %q", output)
	}
	if err := parent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	if got := parent.ProcessState.ExitCode(); got != 137 {
		t.Errorf("status %d, want 137", got)
	}
}

// The command holds the other end of the pipe: it is closed when it is gone.
func TestRunCommand_KilledTakesTheCommandAlong(t *testing.T) {
	parent, output, rest := runCommand(t, "1m", "/bin/sh", "-c", `echo $$; exec sleep 600`)
	if _, err := strconv.Atoi(output); err != nil {
		t.Fatalf("said %q", output)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := rest.ReadByte(); err != io.EOF {
		t.Fatalf("the command runs on: %v", err)
	}
}

// SIGTERM is for all that a command started, and so is the grace.
func TestRunCommand_AsksTheWholeGroupToEnd(t *testing.T) {
	f := func(grace, script string, status int, want string) {
		t.Helper()
		parent, output, rest := runCommand(t, grace, "/bin/sh", "-c", script)
		if output != "up" {
			t.Fatalf("%s: said %q", script, output)
		}
		if err := parent.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = parent.Wait()
		got, _ := io.ReadAll(rest)
		said := strings.ReplaceAll(string(got), "Terminated\n", "") // a shell says so of its sleep
		if code := parent.ProcessState.ExitCode(); code != status || said != want {
			t.Errorf("%s: status %d, said %q; want %d, %q", script, code, said, status, want)
		}
	}
	const app = `sh -c 'trap "sleep 0.3; echo saved; exit 5" TERM; echo up; while :; do sleep 0.05; done'`
	f("1m", app+"; true", 143, "saved\n")
	f("1m", app+" & wait; exit 3", 143, "saved\n")
	f("1m", `trap "echo asked; exit 7" TERM; `+app+` & while :; do sleep 0.05; done`, 7, "asked\nsaved\n")
	f("1m", `(`+app+` & ); sleep 600`, 143, "saved\n") // an orphan
	f("300ms", `trap "" TERM; sh -c 'echo up; while :; do sleep 0.05; done'; true`, 137, "")
	f("300ms", `sh -c 'trap "" TERM; echo up; while :; do sleep 0.05; done' & wait`, 143, "")
	f("1m", `echo up; kill -STOP $$; sleep 600`, 143, "")
}
