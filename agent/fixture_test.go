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
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/process"
	"ringway/agent/runtimetest"
	"ringway/events"
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

// registry is a bucket of the claim of one host.
type registry struct {
	mu      sync.Mutex
	entry   events.Entry // its value is nil if there is none
	changed chan struct{}
}

func newRegistry() *registry { return &registry{changed: make(chan struct{})} }

// set is a change from outside: a nil value is a bus that was wiped.
func (r *registry) set(value []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.store(value)
}

// forget is a bus that was wiped, which nobody has seen yet.
func (r *registry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entry.Value = nil
}

func (r *registry) store(value []byte) events.Version {
	r.entry = events.Entry{Key: "host-1", Value: value, Version: events.Version{Incarnation: "r", Revision: r.entry.Version.Revision + 1}}
	close(r.changed)
	r.changed = make(chan struct{})
	return r.entry.Version
}

func (r *registry) Get(context.Context, string) (events.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entry.Value == nil {
		return events.Entry{}, events.ErrNotFound
	}
	return r.entry, nil
}

func (r *registry) Create(_ context.Context, _ string, value []byte) (events.Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entry.Value != nil {
		return events.Version{}, events.ErrConflict
	}
	return r.store(value), nil
}

func (r *registry) Update(_ context.Context, _ string, value []byte, last events.Version) (events.Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entry.Value == nil || r.entry.Version != last {
		return events.Version{}, events.ErrConflict
	}
	return r.store(value), nil
}

func (r *registry) Watch(ctx context.Context, _ string, fn func(events.Entry)) error {
	for {
		r.mu.Lock()
		entry, changed := r.entry, r.changed
		r.mu.Unlock()
		if entry.Version.Revision > 0 {
			fn(entry)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// claim is what stands there.
func (r *registry) claim() agent.Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, _ := agent.DecodeClaim(r.entry.Value) // the zero value if there is none
	return c
}

// air carries heartbeats, and keeps those of one agent.
type air struct {
	mu         sync.Mutex
	heartbeats []events.HostHeartbeat
	away       bool
	listen     func(string, []byte)         // to the leader
	agents     map[int]func(string, []byte) // listen to agents
	listeners  int
}

func (a *air) Listen(subject string, fn func(string, []byte)) (stop func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if subject == events.HeartbeatController {
		a.listen = fn
		return func() {}, nil
	}
	if a.agents == nil {
		a.agents = map[int]func(string, []byte){}
	}
	a.listeners++
	id := a.listeners
	a.agents[id] = fn
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.agents, id)
	}, nil
}

// lead says what a leader does.
func (a *air) lead(assigned events.Version) {
	b, err := json.Marshal(events.ControllerHeartbeat{Controller: "c1", Assigned: map[string]events.Version{"host-1": assigned}})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && a.listen != nil {
		a.listen("", b)
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
	for _, fn := range a.agents {
		fn(subject, b)
	}
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
	hosts *registry
	rt    agent.Runtime
	wrap  func(agent.Runtime) agent.Runtime // a fault between agent and runtime
	end   func(cause error) error
}

func newFixture(t *testing.T) *fixture {
	return newFaultyFixture(t, func(rt agent.Runtime) agent.Runtime { return rt })
}

// newFaultyFixture makes a test one of those that run at the same time: an agent
// takes seconds to do nothing wrong.
func newFaultyFixture(t *testing.T, wrap func(agent.Runtime) agent.Runtime) *fixture {
	t.Parallel()
	f := &fixture{air: &air{}, t: t, dir: t.TempDir(), board: newBoard(), hosts: newRegistry(), wrap: wrap}
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
	a, err := agent.New(config(f.dir), rt, f.board, f.hosts, f.air, log)
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
	cfg.Silence = 2 * time.Second
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
