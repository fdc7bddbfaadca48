// Package router is the data plane: it forwards each request to the member of
// a service that the service's slot table names.
//
// Routing never waits for the control plane. A router obeys the newest route it
// has seen, keeps it on disk, and goes on serving it while the bus or the
// controller is away. A request is answered by one immutable snapshot of the
// routes, which a change replaces with one atomic store; serve.go is the whole
// hot path and neither locks nor allocates. An idempotent request outlives the
// death of a member as long as another lives, unless part of its answer was
// already sent. A member that the newest snapshot does not route to gets no
// new request: see service.enter.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/follow"
	"ringway/router/database"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	ID     string         // of this router, unique among those on the bus
	Public []net.Listener // clients; passed in so that a supervisor can hold the sockets over a crash. Heartbeats tell the first
	Admin  net.Listener   // metrics, health, pprof; nil: none
	Cache  string         // file that keeps the last routes; empty: none

	TrustForwarded bool // keep X-Forwarded-Proto and -Host of the client: only behind a proxy that sets them

	MaxHeader int // bytes of a request's or an answer's header; 431 beyond
	MaxBody   int // bytes of a request's body, held in memory so that it can be sent again; 413 beyond
	MaxBuffer int // bytes of an answer that is held before it is passed on; larger ones are streamed

	ReadTimeout  time.Duration // a client's whole request; 408 beyond
	WriteTimeout time.Duration // a client taking its whole answer
	IdleTimeout  time.Duration // a client's connection between two requests
	Connect      time.Duration // a connection to a member
	Keep         time.Duration // an unused connection to a member; below what servers keep (Node: 5 s)

	TrialAfter time.Duration // between the ejection of a member and its first trial
	MaxTrial   time.Duration // longest wait between two trials; each failed one doubles it

	RetryBurst int // retries of requests that were already sent, in store: as many may be in flight at a member that is killed
	RetryRatio int // requests that earn one more such retry: in an outage load grows by 1/RetryRatio

	Scale    time.Duration // /add and /rm: longest wait for the outcome; 504 beyond
	NoLeader time.Duration // /add and /rm: longest wait for a controller that is not heard; 503 beyond, or 504 if one was asked
	Attempt  time.Duration // /add and /rm: wait for one answer before asking again with the same id
	Stop     time.Duration // open requests may take this long to end at shutdown

	Database database.Config
}

// DefaultConfig is what `ringway up` uses. Public and ID are still to be set.
func DefaultConfig() Config {
	return Config{
		MaxHeader: 16 << 10, MaxBody: 10 << 20, MaxBuffer: 64 << 10,
		ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 75 * time.Second,
		Connect: time.Second, Keep: 4 * time.Second,
		TrialAfter: time.Second, MaxTrial: 10 * time.Second,
		RetryBurst: 10_000, RetryRatio: 10,
		Scale: 60 * time.Second, NoLeader: 10 * time.Second, Attempt: 10 * time.Second,
		Stop:     30 * time.Second,
		Database: database.DefaultConfig(),
	}
}

func (c *Config) check() error {
	switch {
	case c.ID == "":
		return errors.New("id: missing; every router needs its own")
	case len(c.Public) == 0:
		return errors.New("public: no listener")
	case c.MaxHeader < 1024 || c.MaxBody < 1 || c.MaxBuffer < 0:
		return errors.New("limits: the header limit is at least 1024 bytes, the others are positive")
	case c.RetryRatio < 1:
		return errors.New("retry ratio: use at least 1")
	}
	for _, d := range []time.Duration{c.ReadTimeout, c.WriteTimeout, c.IdleTimeout, c.Connect, c.Keep, c.TrialAfter, c.MaxTrial, c.Scale, c.NoLeader, c.Attempt, c.Stop} {
		if d <= 0 {
			return fmt.Errorf("timeouts: %s is too short; all must be positive", d)
		}
	}
	return nil
}

// bus carries heartbeats and what is asked of the leader. Request returns a
// *events.StatusError for what the leader declines, and otherwise wraps
// events.ErrNoLeader or events.ErrUnknownOutcome.
type bus interface {
	Publish(subject string, v any) error
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
	Request(ctx context.Context, verb string, req, reply any) error
}

// logs are those of the database's shards.
type logs = database.Logs

// Router forwards requests. New starts nothing; Run does.
type Router struct {
	cfg     Config
	bucket  follow.Watcher
	bus     bus
	log     *slog.Logger
	builder builder
	metrics *metrics
	budget  budget
	public  *fasthttp.Server
	tracker *tracker
	admin   *http.Server

	database *database.Database

	routes  atomic.Pointer[routes] // one immutable snapshot
	swap    sync.Mutex             // orders the writers of routes
	changed chan struct{}          // closed at the next swap; under swap

	heartbeatNow chan struct{} // a reason to send a heartbeat at once
	trialNow     chan struct{} // a member was ejected, or may have come back
	saveNow      chan struct{} // the cache is behind
	stopping     atomic.Bool

	leaderSeen atomic.Int64 // when the leader's last heartbeat came, unix ns
}

// New checks cfg, and loads the last routes from the cache if there is one.
// compile makes the request hash of course from a configuration; nil knows
// only the official one.
func New(cfg Config, bucket follow.Watcher, bus bus, logs logs, compile CompileH, log *slog.Logger) (*Router, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	r := &Router{
		cfg: cfg, bucket: bucket, bus: bus, log: log.With(events.KeyRouter, cfg.ID),
		metrics: newMetrics(),
		changed: make(chan struct{}), heartbeatNow: make(chan struct{}, 1), trialNow: make(chan struct{}, 1),
		saveNow: make(chan struct{}, 1),
	}
	r.budget.fill(cfg.RetryBurst, cfg.RetryRatio)
	r.builder = builder{compile: compile, newMember: r.newMember}
	r.routes.Store(&routes{})
	r.metrics.observe(r)
	r.public, r.tracker = r.newPublic(), newTracker(cfg.Public)
	if cfg.Admin != nil {
		r.admin = r.newAdmin()
	}
	var err error
	if r.database, err = database.New(cfg.Database, logs, bus, r, r.metrics.registry, r.log); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	r.loadCache()
	return r, nil
}

// Run serves until its context ends, lets open requests finish for up to cfg.Stop, and
// returns when everything it started has ended. It closes all listeners.
func (r *Router) Run(parent context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(parent))
	defer stop()
	ctx, fail := context.WithCancelCause(parent)
	defer fail(nil)

	var servers, rest sync.WaitGroup
	for _, loop := range []func(context.Context){r.follow, r.sendHeartbeats, r.tryEjected, r.saveCache, r.sweep, r.database.Run} {
		rest.Go(func() { loop(background) })
	}
	<-r.database.Began() // clients of a killed router's life are in its backlog
	for _, d := range r.tracker.listeners {
		servers.Go(func() {
			if err := r.public.Serve(d); err != nil {
				fail(fmt.Errorf("serve clients: %w", err))
			}
		})
	}
	if r.admin != nil {
		servers.Go(func() {
			if err := r.admin.Serve(r.cfg.Admin); !errors.Is(err, http.ErrServerClosed) {
				fail(fmt.Errorf("serve admin: %w", err))
			}
		})
	}
	<-ctx.Done()
	failed := context.Cause(ctx)
	if parent.Err() != nil {
		failed = nil // it was asked to end
	}
	r.stopping.Store(true)
	r.stopPublic() // the heartbeat goes on: the controller counts what is in flight
	stop()
	rest.Wait()
	r.stopAdmin()
	servers.Wait()
	r.closeAll()
	if failed != nil {
		return fmt.Errorf("run router %s: %w", r.cfg.ID, failed)
	}
	return nil
}

// notify makes the loop that reads from c run once more.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
