// Package agent makes one host run its assignment, and reports on the bus
// what runs there.
//
// The agent is the truth of its host. It starts what is assigned, stops what
// is assigned no more, and never starts an instance again that has died: the
// controller replaces it under a new name. It kills nothing for lack of news,
// nor for an older leader's assignment, nor for that of a bus which does not
// know its instances. When it ends its instances run on, and its successor
// adopts them; only when its supervisor is gone does it stop them.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ringway/agent/lifeline"
	"ringway/events"
	"ringway/internal/statedir"
)

// Config is how an agent works.
type Config struct {
	Host string // name of this host
	Dir  string // what the agent has to remember; one agent at a time

	ProbeFirst   time.Duration // between two health probes until the first succeeds
	ProbeEvery   time.Duration // between two health probes after that
	ProbeTimeout time.Duration // of one probe, body included
	ProbeFails   int           // probes that fail in a row until an instance is unready
	Probes       int           // probes in flight at once, so that a host full of hung instances stays calm
	ReadyWithin  time.Duration // after which an instance that was never ready is reported unready

	StartWithin  time.Duration // for the runtime to start an instance
	StopSlack    time.Duration // beyond its grace, for an instance to stop when the supervisor is gone
	SlowAfter    time.Duration // after which a runtime that has not answered is reported
	ListEvery    time.Duration // between two looks at all that runs, in case a notice was lost
	RetryAfter   time.Duration // before something that failed is tried again
	HeartbeatGap time.Duration // at least, between two heartbeats: changes at once share one
	Silence      time.Duration // of the agent that has this host's name, after which it has it no more
}

// DefaultConfig takes a hung instance out of rotation within 4 s: an interval,
// and ProbeFails timeouts. Host and Dir are missing.
func DefaultConfig() Config {
	return Config{
		ProbeFirst: 250 * time.Millisecond, ProbeEvery: time.Second, ProbeTimeout: time.Second, ProbeFails: 3,
		Probes: 64, ReadyWithin: 30 * time.Second,
		StartWithin: 30 * time.Second, StopSlack: 10 * time.Second, SlowAfter: 2 * time.Second, ListEvery: 5 * time.Second,
		RetryAfter: time.Second, HeartbeatGap: 5 * time.Millisecond,
		Silence: 8 * time.Second,
	}
}

// assignments are what hosts shall run.
type assignments interface {
	// Watch calls fn with the value of key, if there is one, and with each value
	// after it, one at a time, until ctx ends.
	Watch(ctx context.Context, key string, fn func(events.Entry)) error
}

// bus carries heartbeats. Publish does not wait for a bus that is away.
type bus interface {
	Publish(subject string, v any) error
	// Listen calls fn in order, until stop.
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
}

// Agent is the agent of one host.
type Agent struct {
	cfg         Config
	rt          Runtime
	assignments assignments
	hosts       hosts
	bus         bus
	log         *slog.Logger
	incarnation string
	heartbeats  chan events.HostHeartbeat // the newest one that was not sent
	inbox       chan func(*host)          // what happened, for the loop
	probes      chan struct{}             // a place in it is a probe in flight
}

// New starts nothing.
func New(cfg Config, rt Runtime, assignments assignments, hosts hosts, bus bus, log *slog.Logger) (*Agent, error) {
	if err := events.ValidName(cfg.Host); err != nil {
		return nil, fmt.Errorf("agent: host: %w", err)
	}
	return &Agent{
		cfg: cfg, rt: rt, assignments: assignments, hosts: hosts, bus: bus, log: log.With(events.KeyHost, cfg.Host),
		incarnation: rand.Text(), heartbeats: make(chan events.HostHeartbeat, 1), inbox: make(chan func(*host)),
		probes: make(chan struct{}, max(1, cfg.Probes)),
	}, nil
}

// Run works until ctx ends. Instances run on, unless the cause of the end is
// lifeline.ErrClosed: then Run stops them all and forgets them, so that the
// next start brings them up under the same names. Call it once.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.MkdirAll(a.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("run agent of %q: %w", a.cfg.Host, err)
	}
	lock, err := statedir.Take(ctx, a.cfg.Dir, "agent.lock", statedir.Dying)
	if err != nil {
		return fmt.Errorf("run agent of %q: %w", a.cfg.Host, err)
	}
	defer lock.Close()
	fence, err := loadFence(filepath.Join(a.cfg.Dir, "agent.json"))
	if err != nil {
		return fmt.Errorf("run agent of %q: %w", a.cfg.Host, err)
	}
	claim, err := a.newClaim()
	if err != nil {
		return fmt.Errorf("run agent of %q: %w", a.cfg.Host, err)
	}

	a.log.Info("agent started", "data", a.cfg.Dir)

	// The work goes on after ctx has ended if there are instances to stop.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	failed := make(chan error, 2)
	group.Go(func() {
		err := a.rt.Run(work, func(in Instance) { a.post(work, func(h *host) { h.died(in) }) })
		if work.Err() == nil {
			failed <- fmt.Errorf("run agent of %q: the runtime ended: %w", a.cfg.Host, err)
		}
	})
	group.Go(func() {
		if err := a.takePart(ctx, work, claim, fence); errors.Is(err, ErrTaken) {
			failed <- fmt.Errorf("run agent of %q: %w", a.cfg.Host, err)
		}
	})
	group.Go(func() { a.list(work) })
	return a.loop(ctx, newHost(work, a, &group, fence), failed)
}

// takePart claims the host's name and then sends heartbeats and follows the host's
// assignment, until ctx ends or the name is another's.
func (a *Agent) takePart(ctx, work context.Context, claim Claim, fence fence) error {
	if err := a.claim(ctx, &claim); err != nil {
		return err
	}
	following, unfollow := context.WithCancel(ctx)
	sending, silence := context.WithCancel(work) // also while the instances are stopped in the end
	var group sync.WaitGroup
	group.Go(func() { a.publish(sending) })
	group.Go(func() { a.follow(following, work, fence) })
	err := a.keepClaim(ctx, claim)
	if errors.Is(err, ErrTaken) {
		silence()
	}
	unfollow()
	group.Wait()
	silence()
	return err
}

// loop is the only goroutine that touches h. Nothing in it waits for a disk,
// a runtime, an instance or the bus.
func (a *Agent) loop(ctx context.Context, h *host, failed <-chan error) error {
	tick := time.NewTicker(events.HeartbeatInterval)
	defer tick.Stop()
	ended := ctx.Done()
	var giveUp <-chan time.Time
	for {
		var gap <-chan time.Time
		if wait := h.heartbeatIfDue(time.Now()); wait > 0 {
			gap = time.After(wait)
		}
		select {
		case happened := <-a.inbox:
			happened(h)
		case <-gap:
		case <-tick.C:
			h.dirty = true
			h.reconcile()
		case err := <-failed:
			return err
		case <-giveUp:
			return fmt.Errorf("run agent of %q: %d instances did not stop; they end by themselves with the lifeline", a.cfg.Host, len(h.entries))
		case <-ended:
			if !errors.Is(context.Cause(ctx), lifeline.ErrClosed) {
				return nil
			}
			ended = nil
			giveUp = time.After(h.close())
		}
		if h.closing && h.known && len(h.entries) == 0 {
			return nil
		}
	}
}

// post hands the loop something to do; it is dropped when the work has ended.
func (a *Agent) post(work context.Context, happened func(*host)) {
	select {
	case a.inbox <- happened:
	case <-work.Done():
	}
}
