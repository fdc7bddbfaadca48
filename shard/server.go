// Package shard is the shard server: it keeps the replicas that routes name it
// for, and answers reads of them.
package shard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"ringway/events"
	"ringway/events/follow"
	"ringway/events/oplog"
	"ringway/events/shardlog"
	"ringway/internal/notify"
	"ringway/shard/replica"
	"ringway/shard/rowcache"
	"ringway/shard/storage"
)

// What is asked of an engine at once, beside what replica.MaxFills and
// replica.MaxDigests are for.
const (
	MaxStreams = 8 // each router asks for several at once, and holds those that it does not read yet
	maxCopies  = 2
	maxReads   = 8
)

// An engine bears as many long reads as are asked of it.
const _ = uint(storage.LongReads - MaxStreams - maxCopies - replica.MaxDigests - replica.MaxFills)

// Config is what can be tuned, and who the server is.
type Config struct {
	ID       string       // its name in the routes
	Volume   string       // id of its data directory, for heartbeats
	Listener net.Listener // the server's to close

	replica.Config

	ReadWait     time.Duration // how long a read waits for its minimum seq, or until it may begin
	CacheBytes   int           // of rows that are kept in memory
	MaxBody      int           // bytes of a request
	WriteTimeout time.Duration // a client that reads nothing for so long is disconnected
	Stop         time.Duration // for requests that are open at the end
}

// DefaultConfig suits a server with a handful of replicas on a laptop.
func DefaultConfig() Config {
	return Config{
		Config: replica.DefaultConfig(), ReadWait: 2 * time.Second, CacheBytes: 11 << 20, MaxBody: 8 << 20,
		WriteTimeout: 30 * time.Second, Stop: 5 * time.Second,
	}
}

// Opener opens the engine of the server's volume and says what it is. What
// failed is tried again.
type Opener func(ctx context.Context) (engine storage.Engine, name string, err error)

// Bus publishes and subscribes, and appends to logs.
type Bus interface {
	oplog.Log
	oplog.Listener
	Publish(subject string, v any) error
}

// Server keeps the replicas that routes name it for.
type Server struct {
	cfg    Config
	open   Opener
	counts *metrics
	routes follow.Watcher
	bus    Bus
	writer *oplog.Writer
	log    *slog.Logger
	life   string // incarnation of this process

	engine   engineHolder
	host     *replica.Host
	managers atomic.Pointer[map[replica.Key]*manager]
	reads    *semaphore.Weighted // that end by themselves
	streams  *semaphore.Weighted // that end when their clients have taken them
	copies   *semaphore.Weighted

	// ctx is of the managers and of what requests ask for, and ends with Run. The
	// context of a request would end with its handler, and database/sql has goroutines
	// that outlive that.
	ctx context.Context
	end context.CancelFunc // ends ctx; with the lock: then no manager starts any more

	mu      sync.Mutex
	work    sync.WaitGroup // managers
	tables  map[string]tableRoute
	leaving map[replica.Key]<-chan struct{} // managers that may still be at work

	heartbeatNow notify.Signal
}

// manager is a running manager.
type manager struct {
	*replica.Manager
	stop  context.CancelFunc
	ended chan struct{} // closed when it has
}

// New starts nothing.
func New(cfg Config, open Opener, logs func(events.LogID) replica.Log, routes follow.Watcher, bus Bus, log *slog.Logger) (*Server, error) {
	if err := events.ValidName(cfg.ID); err != nil {
		return nil, fmt.Errorf("shard server: %w", err)
	}
	if cfg.Listener == nil {
		return nil, errors.New("shard server: no listener")
	}
	s := &Server{
		cfg: cfg, open: open, counts: newMetrics(), routes: routes, bus: bus, log: log, life: rand.Text(),
		reads: semaphore.NewWeighted(maxReads), streams: semaphore.NewWeighted(MaxStreams), copies: semaphore.NewWeighted(maxCopies),
		tables: map[string]tableRoute{}, leaving: map[replica.Key]<-chan struct{}{}, heartbeatNow: notify.NewSignal(),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.engine.opened = make(chan struct{})
	s.host = replica.NewHost(cfg.Config, replica.Host{
		Server: cfg.ID, Engine: s.engine.get, Logs: logs, Bus: bus, Cache: rowcache.New(cfg.CacheBytes), Changed: s.heartbeatSoon, Log: log,
	})
	s.managers.Store(&map[replica.Key]*manager{})
	s.writer = oplog.New(oplog.DefaultConfig(), bus, bus, ownStores{s}, log)
	return s, nil
}

// Run serves until ctx ends. It answers /heartbeat at once: an engine that is
// slow or broken is reported in heartbeats, and is no reason to end this process.
func (s *Server) Run(ctx context.Context) error {
	clients := s.newClients()
	failed := make(chan error, 2)
	var work sync.WaitGroup
	work.Go(func() { clients.Serve(func(err error) { failed <- err }) })
	work.Go(func() { s.engine.openWithRetry(s.ctx, s.cfg, s.open, s.log, s.heartbeatSoon) })
	work.Go(func() {
		if err := s.writer.Run(s.ctx); err != nil {
			failed <- err
		}
	})
	work.Go(func() { s.follow(s.ctx) })
	work.Go(func() { s.sendHeartbeats(s.ctx) })
	s.log.Info("shard server listens", "id", s.cfg.ID, events.KeyAddress, s.cfg.Listener.Addr().String())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	clients.Stop(func() {}) // requests end before what they use
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.work.Wait()
	work.Wait()
	if closed := s.engine.close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("shard server %s: %w", s.cfg.ID, err)
	}
	return nil
}

func (s *Server) manager(table, shard string) *manager {
	return (*s.managers.Load())[replica.Key{Table: table, Shard: shard}]
}

// ownStores answers the server's own writer.
type ownStores struct{ s *Server }

// Results implements oplog.Asker.
func (o ownStores) Results(ctx context.Context, log events.LogID, batch string) (shardlog.Results, error) {
	m := o.s.manager(log.Table, log.Shard)
	if m == nil {
		return shardlog.Results{}, events.ErrNotFound
	}
	r, err := m.Readable(log.Incarnation)
	if err != nil {
		return shardlog.Results{}, err
	}
	return r.Store.Results(ctx, batch)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
