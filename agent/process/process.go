// Package process runs instances as child processes.
//
// Instances outlive the agent that started them and are adopted by the next
// one. A process is taken for an instance only if its pid, its start time, the
// boot and a random mark in its environment agree with a record on disk, so no
// stranger that was given a recycled pid is ever signalled; and because the
// record of the intent is on disk before the fork, and the mark is found in
// /proc, no instance is lost if the agent dies between the two.
//
// A volume is a directory, DIR/volumes/ID, and only a person removes it.
//
// The agent is no subreaper: orphans go to init, and a successor watches them
// through pidfds, which report a zombie that nobody reaps as dead.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/events"
	"ringway/internal/notify"
	"ringway/internal/statedir"
)

// Config is where and how instances run.
type Config struct {
	Dir      string // records and logs; one runtime at a time
	Host     string // name of this host
	Binary   string // our own executable, with the subcommands server and hold
	IP       string // where instances listen and routers reach them
	PortLow  int    // instances listen on PortLow..PortHigh, outside the range from
	PortHigh int    // which the kernel takes the ports of outgoing connections
	MaxLog   int64  // bytes of one instance's log before its older part is dropped
	NATS     string // URL of the bus, for shard servers
}

// DefaultConfig is that of a laptop; Dir and Host are missing.
func DefaultConfig() Config {
	binary, err := os.Executable()
	if err != nil {
		binary = os.Args[0]
	}
	return Config{Binary: binary, IP: "127.0.0.1", PortLow: 20000, PortHigh: 29999, MaxLog: 8 << 20}
}

// Runtime implements agent.Runtime.
type Runtime struct {
	cfg  Config
	line *lifeline.Line
	log  *slog.Logger
	boot string
	lock *os.File

	mu        sync.Mutex
	children  map[string]*child
	unlimited map[string]bool // services of which it was told that their limits do not hold
	unwatched []*child        // run, and Run does not watch them yet
	wake      notify.Signal   // there are unseen ones
}

var _ agent.Runtime = (*Runtime)(nil)

// Open takes over cfg.Dir and finds out what runs. It starts nothing. line,
// which may be nil, is passed on to the instances. Close it after Run.
func Open(ctx context.Context, cfg Config, line *lifeline.Line, log *slog.Logger) (*Runtime, error) {
	if err := events.ValidName(cfg.Host); err != nil {
		return nil, fmt.Errorf("open instances: host: %w", err)
	}
	// The marks of instances name the directory: it must have one name only.
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open instances: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open instances: %w", err)
	}
	// The kernel closes the lock of a killed agent only when a child that it was
	// about to start has executed: whoever has the lock finds every mark.
	lock, err := statedir.Take(ctx, dir, "instances.lock", statedir.Dying)
	if err != nil {
		return nil, fmt.Errorf("open instances: %w", err)
	}
	if cfg.Dir, err = filepath.EvalSymlinks(dir); err == nil {
		r := &Runtime{cfg: cfg, line: line, log: log, lock: lock, children: map[string]*child{}, unlimited: map[string]bool{}, wake: notify.NewSignal()}
		if err = r.adopt(); err == nil {
			return r, nil
		}
		for _, c := range r.children {
			c.release()
		}
	}
	_ = lock.Close()
	return nil, fmt.Errorf("open instances: %w", err)
}

// Close frees the directory. Instances run on.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.children {
		c.release()
	}
	return r.lock.Close()
}

// Run implements agent.Runtime.
func (r *Runtime) Run(ctx context.Context, died func(agent.Instance)) error {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	trim := time.NewTicker(10 * time.Second)
	defer trim.Stop()
	for {
		for _, c := range r.takeUnwatched() {
			watchers.Go(func() { r.watch(ctx, c, died) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-trim.C:
			r.trimLogs()
		case <-r.wake:
		}
	}
}

// watch waits for the end of c, or of ctx.
func (r *Runtime) watch(ctx context.Context, c *child, died func(agent.Instance)) {
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	if !c.wait() {
		return // ctx ended; c runs on
	}
	detail, withError := c.reap()
	if withError {
		if last := r.lastLogError(c.name); last != "" {
			detail += ": " + last
		}
	}
	r.mu.Lock()
	c.record.Dead, c.record.Detail = true, detail
	record := c.record
	r.mu.Unlock()
	died(record.instance())
	if record.leavesMore() {
		r.killLeftovers(record.Mark)
	}
	if err := r.write(record); err != nil {
		// A successor finds by itself that it is dead, only not why.
		r.log.Warn("cannot record the end of an instance", events.KeyInstance, c.name, events.KeyError, err)
	}
	close(c.settled)
}

// Start implements agent.Runtime.
func (r *Runtime) Start(ctx context.Context, spec events.InstanceSpec, token events.Token) (agent.Instance, error) {
	fail := func(err error) (agent.Instance, error) {
		return agent.Instance{}, fmt.Errorf("start %q: %w", spec.Name, err)
	}
	if err := agent.ValidateSpec(spec); err != nil {
		return fail(err)
	}
	if spec.Image != "" {
		return fail(fmt.Errorf("image %q needs containers; run this host's agent with --runtime docker", spec.Image))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	r.warnOfLimits(spec)
	c, err := r.reserve(spec, token)
	if err != nil {
		return fail(err)
	}
	if err := r.launch(c); err != nil {
		r.mu.Lock()
		delete(r.children, spec.Name)
		r.mu.Unlock()
		// If this fails too, a successor finds an intent without a process.
		_ = statedir.Remove(r.recordPath(spec.Name))
		return fail(err)
	}
	r.mu.Lock()
	c.launched = true
	started := c.record.instance()
	r.unwatched = append(r.unwatched, c)
	r.mu.Unlock()
	r.wake.Notify()
	return started, nil
}

// warnOfLimits tells once of a service that its instances are not held to what it asks for.
func (r *Runtime) warnOfLimits(spec events.InstanceSpec) {
	r.mu.Lock()
	told := r.unlimited[spec.Service] || spec.Limits == events.Limits{}
	if !told {
		r.unlimited[spec.Service] = true
	}
	r.mu.Unlock()
	if !told {
		r.log.Warn("limits do not hold for processes; they need containers: run this host's agent with --runtime docker",
			events.KeyService, spec.Service, "limits", fmt.Sprintf("%+v", spec.Limits))
	}
}

// reserve takes the name and a port.
func (r *Runtime) reserve(spec events.InstanceSpec, token events.Token) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.children[spec.Name]; ok {
		return nil, agent.ErrExists
	}
	taken := map[int]bool{}
	for _, c := range r.children {
		taken[c.record.Port] = true
	}
	port, err := freePort(r.cfg, taken)
	if err != nil {
		return nil, err
	}
	c := newChild(newRecord(r.cfg, spec, token, port, r.boot))
	r.children[spec.Name] = c
	return c, nil
}

// Stop implements agent.Runtime.
func (r *Runtime) Stop(ctx context.Context, name string, grace time.Duration) error {
	c := r.find(name)
	if c == nil {
		return nil
	}
	if err := c.end(ctx, grace); err != nil {
		return fmt.Errorf("stop %q: %w", name, err)
	}
	return nil
}

// List implements agent.Runtime.
func (r *Runtime) List(context.Context) ([]agent.Instance, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []agent.Instance
	for _, c := range r.children {
		if c.launched {
			all = append(all, c.record.instance())
		}
	}
	slices.SortFunc(all, func(a, b agent.Instance) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	return all, nil
}

// Forget implements agent.Runtime.
func (r *Runtime) Forget(ctx context.Context, name string) error {
	r.mu.Lock()
	c := r.children[name]
	dead := c != nil && c.record.Dead
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	if !dead {
		return fmt.Errorf("forget %q: %w", name, agent.ErrRunning)
	}
	select { // its watcher may be about to write the record
	case <-c.settled:
	case <-ctx.Done():
		return fmt.Errorf("forget %q: %w", name, ctx.Err())
	}
	c.forget.Lock()
	defer c.forget.Unlock()
	if r.find(name) != c {
		return nil
	}
	if err := statedir.Remove(r.recordPath(name)); err != nil {
		return fmt.Errorf("forget %q: %w", name, err)
	}
	r.mu.Lock()
	delete(r.children, name)
	r.mu.Unlock()
	c.release()
	return nil
}

func (r *Runtime) find(name string) *child {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.children[name]; c != nil && c.launched {
		return c
	}
	return nil
}

func (r *Runtime) takeUnwatched() []*child {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.unwatched
	r.unwatched = nil
	return list
}
