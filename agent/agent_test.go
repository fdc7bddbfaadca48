package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/process"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/statedir"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	runtimetest.RunAsChild()
	if len(os.Args) == 4 && os.Args[1] == "agent" {
		runAsAgent(os.Args[2], os.Args[3])
	}
	goleak.VerifyTestMain(m)
}

// board is a bucket of one assignment.
type board struct {
	mu      sync.Mutex
	entries []events.Entry
	changed chan struct{}
}

func newBoard() *board { return &board{changed: make(chan struct{})} }

func (b *board) put(e events.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
	close(b.changed)
	b.changed = make(chan struct{})
}

// slip puts an assignment that only those see who watch anew.
func (b *board) slip(e events.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
}

func (b *board) Watch(ctx context.Context, key string, fn func(events.Entry)) error {
	b.mu.Lock()
	next := max(0, len(b.entries)-1)
	b.mu.Unlock()
	for {
		b.mu.Lock()
		todo, changed := b.entries[next:], b.changed
		next = len(b.entries)
		b.mu.Unlock()
		for _, e := range todo {
			fn(e)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// air carries heartbeats, and keeps those of one agent.
type air struct {
	mu         sync.Mutex
	heartbeats []events.HostHeartbeat
	away       bool
	hear       func(string, []byte)
}

func (a *air) Listen(_ string, fn func(string, []byte)) (stop func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hear = fn
	return func() {}, nil
}

// lead says what a leader does.
func (a *air) lead(assigned events.Version) {
	b, err := json.Marshal(events.ControllerHeartbeat{Controller: "c1", Assigned: map[string]events.Version{"host-1": assigned}})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && a.hear != nil {
		a.hear("", b)
	}
}

func (a *air) Publish(subject string, v any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return errors.New("no route to the bus")
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	heartbeat, err := events.DecodeHostHeartbeat(b)
	if err != nil {
		return err
	}
	if subject != events.AgentSubject(heartbeat.Host) {
		return fmt.Errorf("host %q speaks on %s", heartbeat.Host, subject)
	}
	a.heartbeats = append(a.heartbeats, heartbeat)
	return nil
}

func (a *air) cut(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

func (a *air) all() []events.HostHeartbeat {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.heartbeats)
}

// states is the last heartbeat in short: "S1=ready S2=dead".
func (a *air) states() string {
	all := a.all()
	if len(all) == 0 {
		return "silence"
	}
	return short(all[len(all)-1])
}

func short(heartbeat events.HostHeartbeat) string {
	var parts []string
	for _, i := range heartbeat.Instances {
		parts = append(parts, i.Name+"="+i.State)
	}
	return strings.Join(parts, " ")
}

// fixture is an agent with a real process runtime, that runs.
type fixture struct {
	*air
	t     *testing.T
	dir   string
	board *board
	rt    agent.Runtime
	wrap  func(agent.Runtime) agent.Runtime // a fault between agent and runtime
	end   func(cause error) error
}

func newFixture(t *testing.T) *fixture {
	return newFaultyFixture(t, func(rt agent.Runtime) agent.Runtime { return rt })
}

func newFaultyFixture(t *testing.T, wrap func(agent.Runtime) agent.Runtime) *fixture {
	f := &fixture{air: &air{}, t: t, dir: t.TempDir(), board: newBoard(), wrap: wrap}
	f.open()
	t.Cleanup(func() { _ = f.end(lifeline.ErrClosed) })
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	cfg := process.DefaultConfig()
	cfg.Dir, cfg.Host = filepath.Join(f.dir, "process"), "host-1"
	log := testkit.Log(f.t)
	rt, err := process.Open(context.Background(), cfg, nil, log)
	if err != nil {
		f.t.Fatal(err)
	}
	f.start(f.wrap(rt), log, rt.Close)
}

func (f *fixture) start(rt agent.Runtime, log *slog.Logger, closeRuntime func() error) {
	f.t.Helper()
	a, err := agent.New(config(f.dir), rt, f.board, f.air, log)
	if err != nil {
		f.t.Fatal(err)
	}
	f.rt = rt
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ended := false
	f.end = func(cause error) error { // once for each start
		if ended {
			return nil
		}
		ended = true
		cancel(cause)
		return errors.Join(<-done, closeRuntime())
	}
}

func config(dir string) agent.Config {
	cfg := agent.DefaultConfig()
	cfg.Host, cfg.Dir = "host-1", dir
	cfg.ListEvery, cfg.SlowAfter, cfg.StopSlack = 500*time.Millisecond, 500*time.Millisecond, 2*time.Second // a test has no time
	return cfg
}

// assign puts an assignment of sample replicas.
func (f *fixture) assign(term events.Token, revision uint64, names ...string) {
	f.t.Helper()
	var specs []events.InstanceSpec
	for _, n := range names {
		specs = append(specs, runtimetest.Sample(n))
	}
	f.board.put(entry(f.t, term, revision, specs...))
}

func entry(t *testing.T, term events.Token, revision uint64, specs ...events.InstanceSpec) events.Entry {
	t.Helper()
	b := encode(t, events.Assignment{Host: "host-1", Instances: specs, Decision: events.Decision{Term: term}})
	return events.Entry{Key: "host-1", Value: b, Version: events.Version{Incarnation: term.Incarnation, Revision: revision}}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *fixture) eventually(want string) {
	f.t.Helper()
	testkit.Eventually(f.t, func() error {
		if got := f.states(); got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

// last is the newest word about an instance.
func (f *fixture) last(name string) events.InstanceStatus {
	f.t.Helper()
	all := f.all()
	for _, i := range all[len(all)-1].Instances {
		if i.Name == name {
			return i
		}
	}
	f.t.Fatalf("no word about %s", name)
	return events.InstanceStatus{}
}

func (f *fixture) detail(want string) {
	f.t.Helper()
	testkit.Eventually(f.t, func() error {
		all := f.all()
		if got := all[len(all)-1].Detail; want == "" && got != "" || !strings.Contains(got, want) {
			return fmt.Errorf("detail is %q, want %q", got, want)
		}
		return nil
	})
}

// more waits for n more heartbeats: time for the agent to do wrong.
func (f *fixture) more(n int) {
	f.t.Helper()
	before := len(f.all())
	testkit.Eventually(f.t, func() error {
		if got := len(f.all()) - before; got < n {
			return fmt.Errorf("%d heartbeats", got)
		}
		return nil
	})
}

func life(incarnation string, revision uint64) events.Token {
	return events.Token{Incarnation: incarnation, Revision: revision}
}

func TestAgent_RunsWhatIsAssigned(t *testing.T) {
	f, rt := newFaulty(t, func(*faulty) {})
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	if err := runtimetest.Get(f.last("S1").Address, "/home", "Server: S1"); err != nil {
		t.Fatal(err)
	}
	heartbeat := f.all()[len(f.all())-1]
	if heartbeat.Token != life("a", 1) || heartbeat.Assigned.Revision != 1 || heartbeat.Load.CPUs == 0 || heartbeat.Load.Memory == 0 || heartbeat.Incarnation == "" {
		t.Fatalf("got %+v", heartbeat)
	}
	kept := f.last("S2").PID
	rt.hangs.Store("S1") // a state that lasts, for a heartbeat that is overtaken is not sent
	f.assign(life("a", 1), 2, "S2", "S3")
	f.eventually("S1=stopping S2=ready S3=ready")
	rt.hangs.Store("")
	f.eventually("S2=ready S3=ready")
	if f.last("S2").PID != kept {
		t.Fatal("S2 was started again")
	}
}

func TestAgent_ReportsADeathAtOnceAndDoesNotRestart(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	begun := testkit.StartWatch()
	if err := syscall.Kill(f.last("S1").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=dead S2=ready")
	took := begun.Elapsed()
	t.Logf("reported %s after kill -9", took)
	if took > 5*time.Second {
		t.Errorf("reported only after %s", took)
	}
	if d := f.last("S1").Detail; !strings.Contains(d, "killed") {
		t.Errorf("detail is %q", d)
	}
	f.more(3)
	f.eventually("S1=dead S2=ready")
	f.assign(life("a", 1), 2, "S2", "S9") // the controller's replacement
	f.eventually("S2=ready S9=ready")
}

func TestAgent_TakesAHungInstanceOutAndBack(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	pid := f.last("S1").PID
	begun := testkit.StartWatch()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=unready")
	took := begun.Elapsed()
	t.Logf("unready %s after SIGSTOP", took)
	if took > 15*time.Second {
		t.Errorf("unready only after %s", took)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready")
	if f.last("S1").PID != pid {
		t.Fatal("it was started again")
	}
}

func TestAgent_ReportsAStartThatFails(t *testing.T) {
	f := newFixture(t)
	f.board.put(entry(t, life("a", 1), 1, runtimetest.Shell("S1", "echo no licence; exit 4")))
	f.eventually("S1=dead")
	if d := f.last("S1").Detail; !strings.Contains(d, "4") || !strings.Contains(d, "no licence") {
		t.Errorf("detail is %q", d)
	}
	// A directory that is gone is what a full disk looks like.
	if err := os.Rename(filepath.Join(f.dir, "process", "instances"), filepath.Join(f.dir, "away")); err != nil {
		t.Fatal(err)
	}
	f.assign(life("a", 1), 2, "S1", "S2")
	f.eventually("S1=dead S2=dead")
	if d := f.last("S2").Detail; !strings.Contains(d, `start "S2": write record`) {
		t.Errorf("detail is %q", d)
	}
	if err := os.Rename(filepath.Join(f.dir, "away"), filepath.Join(f.dir, "process", "instances")); err != nil {
		t.Fatal(err)
	}
}

// The notice of a death may overtake the answer to the start.
func TestAgent_ADeathMayBeReportedBeforeItsStart(t *testing.T) {
	f, rt := newFaulty(t, func(rt *faulty) { rt.late.Store(true) })
	f.board.put(entry(t, life("a", 1), 1, runtimetest.Shell("S1", "exit 4")))
	f.eventually("S1=dead")
	if !rt.overtaken.Load() {
		t.Fatal("the fault did not happen")
	}
	if d := f.last("S1").Detail; !strings.Contains(d, "exit status 4") {
		t.Errorf("detail is %q", d)
	}
}

func TestAgent_SuccessorAdopts(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	one, two := f.last("S1").PID, f.last("S2").PID
	first := f.all()[0].Incarnation
	if err := f.end(context.Canceled); err != nil {
		t.Fatal(err)
	}
	f.air = &air{}
	f.open()
	f.eventually("S1=ready S2=ready")
	if f.last("S1").PID != one || f.last("S2").PID != two {
		t.Fatal("something was started again")
	}
	if f.all()[0].Incarnation == first {
		t.Error("the successor has the incarnation of the first")
	}
	// They served all the time; a first word of "starting" would have cost them their traffic.
	if got := short(f.all()[0]); got != "S1=ready S2=ready" {
		t.Errorf("the successor's first word is %q", got)
	}
}

func TestAgent_IsFenced(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 5), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	pids := f.last("S1").PID + f.last("S2").PID
	check := func(detail string) {
		t.Helper()
		f.detail(detail)
		f.more(1)
		f.eventually("S1=ready S2=ready")
		if f.last("S1").PID+f.last("S2").PID != pids {
			t.Fatalf("%s: something was started again", detail)
		}
	}
	f.assign(life("a", 4), 2)
	check("its term a/4 is older")
	f.board.put(events.Entry{Key: "host-1", Value: []byte(`{"host":`), Version: events.Version{Incarnation: "a", Revision: 3}})
	check("assignment a/3 refused")
	f.board.put(events.Entry{Key: "host-1", Version: events.Version{Incarnation: "a", Revision: 4}}) // deleted
	check("assignment a/3 refused")
	f.assign(life("b", 1), 1) // a wiped bus that knows nobody yet
	check("")
	if err := f.end(context.Canceled); err != nil {
		t.Fatal(err)
	}
	f.open() // the successor has the same memory
	f.assign(life("a", 4), 9)
	check("its term a/4 is older")
	f.assign(life("b", 1), 2, "S1") // the new life names S1, and S2 runs on
	check("")
	f.assign(life("b", 1), 3) // S1 is known in it now
	f.eventually("S2=ready")
}

func TestAgent_StopsEverythingWhenItsSupervisorIsGone(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	pid := f.last("S1").PID
	if err := syscall.Kill(f.last("S2").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready S2=dead")
	if err := f.end(lifeline.ErrClosed); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("S1 still runs: %v", err)
	}
	f.air = &air{}
	f.open()
	f.eventually("S1=ready S2=ready") // the same names, from the same assignment
}

func TestAgent_SendsHeartbeatsWhileTheBusIsAway(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	f.cut(true)
	f.assign(life("a", 1), 2, "S1", "S2")
	testkit.Eventually(t, func() error { // it works on
		all, err := f.rt.List(t.Context())
		if err == nil && len(all) != 2 {
			err = fmt.Errorf("%d instances", len(all))
		}
		return err
	})
	f.cut(false)
	f.eventually("S1=ready S2=ready")
}

func TestAgent_RefusesASecondOne(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	second, err := agent.New(config(f.dir), f.rt, f.board, f.air, testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, statedir.ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestAgent_WaitsForItsDiskBeforeItApplies(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	memory := filepath.Join(f.dir, "agent.json")
	if err := os.Remove(memory); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(memory, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.assign(life("a", 2), 2, "S1", "S2")
	f.detail("waits: remember what is obeyed")
	f.eventually("S1=ready")
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready S2=ready")
	f.detail("")
}
