package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/process"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

// stdout is a bus that prints heartbeats.
type stdout struct{}

func (stdout) Publish(_ string, v any) error { return json.NewEncoder(os.Stdout).Encode(v) }

func (stdout) Listen(string, func(string, []byte)) (func(), error) { return func() {}, nil }

// runAsAgent is an agent process that obeys the assignment in file, for good.
func runAsAgent(dir, file string) {
	err := func() error {
		line, err := lifeline.FromEnv()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		ctx, cancel := line.Context(ctx)
		defer cancel()
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		cfg := process.DefaultConfig()
		cfg.Dir, cfg.Host = filepath.Join(dir, "process"), "host-1"
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		rt, err := process.Open(ctx, cfg, line, log)
		if err != nil {
			return err
		}
		board := newBoard()
		board.put(events.Entry{Key: "host-1", Value: b, Version: events.Version{Incarnation: "a", Revision: 1}})
		a, err := agent.New(config(dir), rt, board, newRegistry(), stdout{}, log)
		if err != nil {
			return err
		}
		return errors.Join(a.Run(ctx), rt.Close())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// spawned is an agent process.
type spawned struct {
	*air
	cmd   *exec.Cmd
	ended chan struct{}
}

func spawn(t *testing.T, dir, file string, root *lifeline.Root) *spawned {
	t.Helper()
	p := &spawned{air: &air{}, cmd: exec.Command(os.Args[0], "agent", dir, file), ended: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	root.Attach(p.cmd)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var heartbeat events.HostHeartbeat
			if json.Unmarshal(lines.Bytes(), &heartbeat) == nil {
				_ = p.Publish(events.AgentSubject("host-1"), heartbeat) // only notes it
			}
		}
		_ = p.cmd.Wait() // its status is in ProcessState
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	return p
}

func (p *spawned) pids(t *testing.T, want string) map[string]int {
	t.Helper()
	testkit.Eventually(t, func() error {
		if got := p.states(); got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
	all := p.all()
	pids := map[string]int{}
	for _, i := range all[len(all)-1].Instances {
		pids[i.Name] = i.PID
	}
	return pids
}

// kill -9 of agents leaves the instances running; kill -9 of the root of them
// all, which is this test, leaves nothing.
func TestAgent_KilledIsSucceededAndNothingOutlivesTheRoot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "assignment.json")
	e := entry(t, life("a", 1), 1, runtimetest.Sample("S1"), runtimetest.Sample("S2"), runtimetest.Shell("S3", "exec sleep 600"))
	if err := os.WriteFile(file, e.Value, 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()

	agents := spawn(t, dir, file, root)
	first := agents.pids(t, "S1=ready S2=ready S3=starting")
	for range 2 {
		if err := agents.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-agents.ended
		agents = spawn(t, dir, file, root)
		if got := agents.pids(t, "S1=ready S2=ready S3=starting"); fmt.Sprint(got) != fmt.Sprint(first) {
			t.Fatalf("pids were %v, are %v", first, got)
		}
	}
	// An adopted instance is no child of the agent, and its end is seen as fast:
	// one of the next heartbeats reports it.
	before := len(agents.all())
	if err := syscall.Kill(first["S2"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	agents.pids(t, "S1=ready S2=dead S3=starting")
	late := slices.IndexFunc(agents.all()[before:], func(h events.HostHeartbeat) bool { return strings.Contains(short(h), "S2=dead") })
	if late > 2 {
		t.Errorf("%d heartbeats did not report the end of an adopted instance", late)
	}

	if err := agents.cmd.Process.Kill(); err != nil { // the agent cannot stop them
		t.Fatal(err)
	}
	<-agents.ended
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	for name, pid := range first {
		testkit.Eventually(t, func() error {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && !strings.Contains(string(b), ") Z ") {
				return fmt.Errorf("%s runs: %s", name, b)
			}
			return nil
		})
	}
}

func TestAgent_TheRestOfTheTreeEndsInOrder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "assignment.json")
	if err := os.WriteFile(file, entry(t, life("a", 1), 1, runtimetest.Sample("S1")).Value, 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	a := spawn(t, dir, file, root)
	a.pids(t, "S1=ready")
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.ended
	if !a.cmd.ProcessState.Success() {
		t.Fatalf("the agent ended with %s", a.cmd.ProcessState)
	}
	// Its records are gone: the next start uses the same names.
	if left, _ := filepath.Glob(filepath.Join(dir, "process", "instances", "*")); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}
}
