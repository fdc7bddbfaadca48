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
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/events/follow"
	"ringway/events/oplog"
	"ringway/shard/apply"
	"ringway/shard/rowcache"
	"ringway/shard/storage"
)

// What is asked of an engine at once.
const (
	MaxStreams = 8 // each router asks for several at once, and holds those that it does not read yet
	maxCopies  = 2
	maxDigests = 2 // as many as 'ringway verify' asks for
	maxFills   = 2 // before which a replica may be quarantined

	maxReads = 8
)

// An engine bears as many long reads as are asked of it.
const _ = uint(storage.LongReads - MaxStreams - maxCopies - maxDigests - maxFills)

// Config says what a shard server is and how patient it is.
type Config struct {
	ID         string       // its name in the routes
	Volume     string       // id of its data directory, for heartbeats
	Quarantine string       // directory for what a replica on another history held; empty: it is not kept
	Listener   net.Listener // the server's to close

	Applier        apply.Config
	ReadWait       time.Duration // how long a read waits for its minimum seq, or until it may begin
	CacheBytes     int           // of rows that are kept in memory
	MaxBody        int           // bytes of a request
	WriteTimeout   time.Duration // a client that takes nothing for so long is cut off
	MaxReplaySeq   uint64        // a log of fewer batches, and
	MaxReplayBytes uint64        // fewer bytes, is replayed from its start although somebody could be copied
	Stalled        time.Duration // without a line from a donor, before its copy is given up
	RetryMin       time.Duration // first wait after a failure of a replica or of the engine; doubles
	RetryMax       time.Duration
	Durable        time.Duration // between two looks at what a power cut cannot take back
	Stop           time.Duration // for requests that are open at the end
}

// DefaultConfig suits a server with a handful of replicas on a laptop.
func DefaultConfig() Config {
	cfg := Config{
		Applier: apply.DefaultConfig(), ReadWait: 2 * time.Second, CacheBytes: 11 << 20, MaxBody: 8 << 20,
		WriteTimeout: 30 * time.Second, MaxReplaySeq: 1000, MaxReplayBytes: 2 << 20,
		Stalled:  30 * time.Second,
		RetryMin: time.Second, RetryMax: 30 * time.Second, Durable: 3 * time.Second, Stop: 5 * time.Second,
	}
	// Decoded and on its way into the engine an entry takes ten times its bytes.
	cfg.Applier.MaxReadAhead = 512 << 10
	cfg.Applier.Budget = &apply.Budget{Bytes: 2 << 20}
	return cfg
}

// Opener opens the engine of the server's volume and says what it is. What
// failed is tried again.
type Opener func(ctx context.Context) (engine storage.Engine, name string, err error)

// Log is the log of one shard. See bus.Log.
type Log interface {
	apply.Log
	State(ctx context.Context) (events.LogState, error)
	Get(ctx context.Context, seq uint64) (at time.Time, data []byte, err error)
}

// Bus publishes and subscribes, and appends to logs.
type Bus interface {
	oplog.Log
	oplog.Listener
	apply.Publisher
}

// Server keeps the replicas that routes name it for.
type Server struct {
	cfg    Config
	open   Opener
	cache  *rowcache.Cache
	counts *metrics
	logs   func(events.LogID) Log
	routes follow.Watcher
	bus    Bus
	writer *oplog.Writer
	log    *slog.Logger
	life   string // incarnation of this process

	http     *http.Client // to donors
	engine   engineHolder
	managers atomic.Pointer[map[shardKey]*manager]
	reads    semaphore // that end by themselves
	streams  semaphore // that end when their clients have taken them
	copies   semaphore
	fills    semaphore
	digests  semaphore // snapshots held for digests
	digest   semaphore // one at a time is computed

	mu      sync.Mutex
	ctx     context.Context // of Run, for managers
	work    sync.WaitGroup  // managers
	tables  map[string]tableRoute
	leaving map[shardKey]<-chan struct{} // managers that may still be at work

	heartbeatNow chan struct{}
}

// shardKey names a shard.
type shardKey struct{ table, shard string }

// New starts nothing.
func New(cfg Config, open Opener, logs func(events.LogID) Log, routes follow.Watcher, bus Bus, log *slog.Logger) (*Server, error) {
	if err := events.ValidName(cfg.ID); err != nil {
		return nil, fmt.Errorf("shard server: %w", err)
	}
	if cfg.Listener == nil {
		return nil, errors.New("shard server: no listener")
	}
	s := &Server{
		cfg: cfg, open: open, cache: rowcache.New(cfg.CacheBytes), counts: newMetrics(), logs: logs, routes: routes, bus: bus, log: log, life: rand.Text(),
		reads: newSemaphore(maxReads), streams: newSemaphore(MaxStreams), copies: newSemaphore(maxCopies), fills: newSemaphore(maxFills),
		digests: newSemaphore(maxDigests), digest: newSemaphore(1),
		http:   newHTTP(&cfg),
		tables: map[string]tableRoute{}, leaving: map[shardKey]<-chan struct{}{}, heartbeatNow: make(chan struct{}, 1),
	}
	s.engine.opened = make(chan struct{})
	s.managers.Store(&map[shardKey]*manager{})
	writer, err := oplog.New(oplog.DefaultConfig(), bus, bus, ownStores{s}, log)
	if err != nil {
		return nil, fmt.Errorf("shard server: %w", err)
	}
	s.writer = writer
	return s, nil
}

// newHTTP asks other shard servers. A transport goes on to dial for whom nobody
// waits any more, hence the dialer's own timeout.
func newHTTP(cfg *Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: cfg.Stalled,
		DialContext: (&net.Dialer{Timeout: min(cfg.Stalled, 5*time.Second)}).DialContext,
	}}
}

// Run serves until ctx ends. It answers /heartbeat at once: an engine that is
// slow or broken is reported in heartbeats, and is no reason to end this process.
func (s *Server) Run(ctx context.Context) error {
	web := newWeb(s)
	ended := ctx.Done()
	// Requests come to their end before what they stand on.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	failed := make(chan error, 2)
	var work sync.WaitGroup
	work.Go(func() { failed <- web.serve() })
	work.Go(func() { s.engine.openWithRetry(ctx, s.cfg, s.open, s.log, s.heartbeatSoon) })
	work.Go(func() {
		if err := s.writer.Run(ctx); err != nil {
			failed <- err
		}
	})
	work.Go(func() { s.follow(ctx) })
	work.Go(func() { s.sendHeartbeats(ctx) })
	s.log.Info("shard server listens", "id", s.cfg.ID, events.KeyAddress, s.cfg.Listener.Addr().String())
	var err error
	select {
	case <-ended:
	case err = <-failed:
	}
	web.stop(s.cfg.Stop)
	cancel()
	s.mu.Lock()
	s.ctx = nil
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
	return (*s.managers.Load())[shardKey{table, shard}]
}

// ownStores answers the server's own writer.
type ownStores struct{ s *Server }

// Results implements oplog.Asker.
func (o ownStores) Results(ctx context.Context, log events.LogID, batch string) (events.Results, error) {
	k := o.s.manager(log.Table, log.Shard)
	if k == nil {
		return events.Results{}, events.ErrNotFound
	}
	r, err := k.readable(log.Incarnation)
	if err != nil {
		return events.Results{}, err
	}
	return r.store.Results(ctx, batch)
}

// semaphore limits how many do something at once.
type semaphore chan struct{}

func newSemaphore(n int) semaphore { return make(semaphore, max(1, n)) }

// tryAcquire does not wait.
func (t semaphore) tryAcquire() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// acquire reports false if ctx ended before.
func (t semaphore) acquire(ctx context.Context) bool {
	if t.tryAcquire() {
		return true
	}
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t semaphore) release() { <-t }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
