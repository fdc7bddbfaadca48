// Package router is the data plane: dispatch.go shows who answers a request.
//
// Routing never waits for the control plane. A router applies the newest route
// it has seen, keeps it on disk, and goes on serving it while the bus or the
// controller is away. Requests to a service's members are forwarded by package
// proxy, tables are answered by package database.
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/follow"
	"ringway/internal/notify"
	"ringway/router/answer"
	"ringway/router/assignment"
	"ringway/router/database"
	"ringway/router/edge"
	"ringway/router/proxy"
)

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

// Router serves clients. New starts nothing; Run does.
type Router struct {
	cfg      Config
	bucket   follow.Watcher
	bus      bus
	log      *slog.Logger
	registry *prometheus.Registry
	swaps    prometheus.Counter

	public     *edge.Server
	admin      *http.Server
	proxy      *proxy.Proxy
	assignment *assignment.API
	database   *database.Database
	leader     *leader

	heartbeatNow notify.Signal // a reason to send a heartbeat at once
	saveNow      notify.Signal // the cache is behind
	stopping     atomic.Bool
}

// New checks cfg, makes the cache's directory, and loads the last routes from the cache if there is one.
// compile makes the request hash of course from a configuration; nil knows
// only the official one.
func New(cfg Config, bucket follow.Watcher, bus bus, logs logs, compile proxy.CompileH, log *slog.Logger) (*Router, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	if cfg.Cache != "" {
		if err := os.MkdirAll(filepath.Dir(cfg.Cache), 0o755); err != nil {
			return nil, fmt.Errorf("new router: directory of the last routes: %w", err)
		}
	}
	r := &Router{
		cfg: cfg, bucket: bucket, bus: bus, log: log.With(events.KeyRouter, cfg.ID), registry: prometheus.NewRegistry(),
		swaps:        prometheus.NewCounter(prometheus.CounterOpts{Name: "ringway_router_swaps_total", Help: "Routes taken into service."}),
		leader:       &leader{bus: bus, noLeader: cfg.NoLeader, attempt: cfg.Attempt},
		heartbeatNow: notify.NewSignal(), saveNow: notify.NewSignal(),
	}
	r.registry.MustRegister(r.swaps, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.public = edge.NewServer(cfg.Edge, cfg.Public, r.dispatch, r.unreadable, r.log)
	if cfg.Admin != nil {
		r.admin = r.newAdmin()
	}
	r.proxy = proxy.New(cfg.Proxy, compile, r.heartbeatNow, r.registry, r.log)
	var err error
	if r.database, err = database.New(cfg.Database, logs, bus, r.leader, r.registry, r.log); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	r.assignment = assignment.New(cfg.Assignment, r.leader, r.proxy, r.database)
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
	for _, loop := range []func(context.Context){r.follow, r.sendHeartbeats, r.saveCache, r.proxy.Run, r.database.Run} {
		rest.Go(func() { loop(background) })
	}
	<-r.database.Began() // clients of a killed router's life are in its backlog
	servers.Go(func() { r.public.Serve(fail) })
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
	r.public.Stop(r.proxy.CloseAll) // the heartbeat goes on: the controller counts what is in flight
	stop()
	rest.Wait()
	r.stopAdmin()
	servers.Wait()
	r.proxy.CloseAll()
	if failed != nil {
		return fmt.Errorf("run router %s: %w", r.cfg.ID, failed)
	}
	return nil
}

// unreadable answers what could not be read as a request.
func (r *Router) unreadable(ctx *fasthttp.RequestCtx, code int, why string) {
	answer.Fail(ctx, code, why)
	r.proxy.CountOwn(code)
}

// stopAdmin comes last, so that a shutdown can be watched.
func (r *Router) stopAdmin() {
	if r.admin == nil {
		return
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if r.admin.Shutdown(grace) != nil {
		_ = r.admin.Close() // a profile may be running
	}
	_ = r.cfg.Admin.Close() // closed already, unless Serve had not begun
}
