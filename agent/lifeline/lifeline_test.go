package lifeline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays the processes of a tree: root → middle → leaf.
func TestMain(m *testing.M) {
	switch os.Getenv("LIFELINE_TEST_ROLE") {
	case "root":
		root, err := New()
		exitOn(err)
		exitOn(spawn("middle", root.Attach))
		forever()
	case "middle":
		line, err := FromEnv()
		exitOn(err)
		exitOn(spawn("leaf", line.Attach))
		forever()
	case "leaf":
		line, err := FromEnv()
		exitOn(err)
		fmt.Println("leaf", os.Getpid(), "parent", os.Getppid(), "root", os.Getenv("LIFELINE_TEST_ROOT"))
		<-line.Closed()
		fmt.Println("leaf ends")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// forever waits to be killed; an empty select is a deadlock to the Go runtime.
func forever() {
	for {
		_ = syscall.Pause() // until a signal that does not kill
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func spawn(role string, attach func(*exec.Cmd)) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LIFELINE_TEST_ROLE="+role)
	if role == "middle" {
		cmd.Env = append(cmd.Env, "LIFELINE_TEST_ROOT="+strconv.Itoa(os.Getpid()))
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	attach(cmd)
	return cmd.Start()
}

func TestLine_SurvivesTheMiddleAndEndsWithTheRoot(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	root := exec.Command(os.Args[0])
	root.Env = append(os.Environ(), "LIFELINE_TEST_ROLE=root")
	root.Stdout, root.Stderr = write, write
	if err := root.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Process.Kill(); _ = root.Wait() }()
	_ = write.Close()
	out := bufio.NewReader(read)
	line := func() string {
		if err := read.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		s, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("got %q, %v", s, err)
		}
		return strings.TrimSpace(s)
	}
	var leaf, middle, top int
	output := line()
	if _, err := fmt.Sscanf(output, "leaf %d parent %d root %d", &leaf, &middle, &top); err != nil {
		t.Fatalf("the leaf said %q: %v", output, err)
	}
	if top != root.Process.Pid {
		t.Fatalf("leaf speaks of root %d, want %d", top, root.Process.Pid)
	}

	if err := syscall.Kill(middle, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// A leaf that takes the death of its parent for the end says so at once.
	if err := read.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if b, err := out.Peek(1); !os.IsTimeout(err) {
		t.Fatalf("the leaf said %q (%v) after the middle was killed", b, err)
	}
	if err := root.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := line(); got != "leaf ends" {
		t.Fatalf("got %q", got)
	}
	if _, err := out.ReadByte(); err != io.EOF { // every process of the tree is gone
		t.Fatalf("got %v, want EOF", err)
	}
}

func TestFromEnv_WithoutLifelineNeverCloses(t *testing.T) {
	line, err := FromEnv()
	if line != nil || err != nil {
		t.Fatalf("got %v, %v", line, err)
	}
	if line.Closed() != nil || line.Close() != nil {
		t.Fatal("a nil line is closed")
	}
	cmd := exec.Command("true")
	cmd.Env = []string{Env + "=7", "A=b"}
	line.Attach(cmd)
	if len(cmd.ExtraFiles) != 0 || strings.Join(cmd.Env, " ") != "A=b" {
		t.Fatalf("attached %v, %v", cmd.ExtraFiles, cmd.Env)
	}
}

func TestFromEnv_RefusesRubbish(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/plain")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, v := range []string{"", "x", "-1", "0", "2", "999", strconv.Itoa(int(file.Fd()))} {
		t.Setenv(Env, v)
		if line, err := FromEnv(); err == nil || line != nil {
			t.Errorf("%s=%q: got %v, %v", Env, v, line, err)
		}
	}
}

func TestLine_IgnoresBytes(t *testing.T) {
	root, err := New()
	if err != nil {
		t.Fatal(err)
	}
	dup, err := syscall.Dup(int(root.read.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(Env, strconv.Itoa(dup))
	line, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	ctx, cancel := line.Context(t.Context())
	defer cancel()
	if _, ok := os.LookupEnv(Env); ok {
		t.Error("the variable is still set")
	}
	if _, err := root.write.WriteString("rubbish"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-line.Closed():
		t.Fatal("closed by bytes")
	case <-time.After(50 * time.Millisecond):
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-line.Closed():
	case <-time.After(5 * time.Second):
		t.Fatal("not closed")
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, ErrClosed) {
		t.Fatalf("the context ended with %v", err)
	}
}

func TestLine_CloseIsNotTheEnd(t *testing.T) {
	root, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dup, err := syscall.Dup(int(root.read.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(Env, strconv.Itoa(dup))
	line, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if err := line.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-line.Closed():
		t.Fatal("Close was taken for the end of the root")
	default:
	}
}
