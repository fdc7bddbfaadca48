// Package proxy forwards each request to the member of a service that the
// service's slot table names.
//
// A request is answered by one immutable snapshot of the routes, which a change
// replaces with one atomic store. serve.go is the hot path and neither locks
// nor allocates. An idempotent request outlives the death of a member as long
// as another lives, unless part of its answer was already sent. A member that
// the newest snapshot does not route to gets no new request: see Proxy.enter.
package proxy

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/internal/notify"
	"ringway/router/routes"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	TrustForwarded bool // keep X-Forwarded-Proto and -Host of the client: only behind a proxy that sets them

	MaxHeader int // bytes of an answer's header
	MaxBuffer int // bytes of an answer that is held before it is passed on; larger ones are streamed
	MaxOld    int // bytes of an answer without length that a client of HTTP/1.0 can get

	Connect time.Duration // a connection to a member
	Keep    time.Duration // an unused connection to a member; below what servers keep (Node: 5 s)

	TrialAfter time.Duration // between the ejection of a member and its first trial
	MaxTrial   time.Duration // longest wait between two trials; each failed one doubles it

	RetryBurst int // retries of requests that were already sent, in store: as many may be in flight at a member that is killed
	RetryRatio int // requests that earn one more such retry: in an outage load grows by 1/RetryRatio
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{
		MaxHeader: 16 << 10, MaxBuffer: 64 << 10, MaxOld: 10 << 20,
		Connect: time.Second, Keep: 4 * time.Second,
		TrialAfter: time.Second, MaxTrial: 10 * time.Second,
		RetryBurst: 10_000, RetryRatio: 10,
	}
}

// Proxy forwards requests to the members of services.
type Proxy struct {
	cfg     Config
	log     *slog.Logger
	builder builder
	metrics *metrics
	budget  budget
	idle    notify.Signal // notified when a leaving member has nothing in flight any more
	trial   notify.Signal // notified when a member was ejected, or may have come back

	snapshot    atomic.Pointer[Snapshot]
	*routes.Set // which the snapshot serves; it orders the writers
}

// New knows no service yet. compile makes the request hash of the algorithm
// course from a configuration; nil knows only the official one. idle is notified
// when a leaving member has nothing in flight any more, so
// that a heartbeat can report it at once.
func New(cfg Config, compile CompileH, idle notify.Signal, registry prometheus.Registerer, log *slog.Logger) *Proxy {
	p := &Proxy{cfg: cfg, log: log, metrics: newMetrics(registry), idle: idle, trial: notify.NewSignal()}
	p.budget.fill(cfg.RetryBurst, cfg.RetryRatio)
	p.builder = builder{compile: compile, newMember: p.newMember}
	p.snapshot.Store(&Snapshot{})
	p.Set = routes.New(routes.Config{
		Prefix: events.ServiceKey(""), Of: events.KeyService, Name: "route", Log: log, Refused: p.metrics.refused,
		Serve: p.serve, Drop: func(name string) { p.replace(name, nil) },
	})
	registry.MustRegister(snapshotCollector{p})
	return p
}

// Run keeps connections fresh and tries ejected members until ctx ends.
func (p *Proxy) Run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { p.tryEjected(ctx) })
	loops.Go(func() { p.expireIdle(ctx) })
	loops.Wait()
}

// expireIdle ends connections to members that nobody has used for long.
func (p *Proxy) expireIdle(ctx context.Context) {
	ticker := time.NewTicker(p.cfg.Keep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, m := range p.snapshot.Load().everyone() {
				m.pool.Expire(now.Add(-p.cfg.Keep))
			}
		}
	}
}

// CloseAll ends every connection to a member, and with it the requests there.
func (p *Proxy) CloseAll() {
	for _, m := range p.snapshot.Load().everyone() {
		m.pool.CloseAll()
	}
}

// Snapshot is what is served now.
func (p *Proxy) Snapshot() *Snapshot { return p.snapshot.Load() }
