// Package database is the router's side of the sharded database.
//
// Writes go into the log of each shard that they concern, and are answered
// when a replica says what became of them. Reads go to a replica that has
// applied what the client may rely on; see level. A request is served by one
// immutable snapshot of the tables' routes. Reads need neither the bus nor the
// controller, as long as they do not ask for a barrier.
package database

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/oplog"
)

// Config is what can be tuned. Start from DefaultConfig.
type Config struct {
	Scale time.Duration // /init, /add and /rm: longest wait for the outcome; a database server may have to be set up
	Write time.Duration // longest wait for what became of a write; 504 beyond
	Read  time.Duration // all tries of a read until its first byte

	Try        time.Duration // until a replica answers, which may wait for a minimum seq; above what shard servers wait
	Stall      time.Duration // a replica may pause this long within an answer
	Connect    time.Duration // a connection to a shard server
	Keep       time.Duration // an unused connection
	Avoid      time.Duration // a replica that failed is no first choice for this long
	Hedge      time.Duration // until another replica is asked too
	Stagger    time.Duration // a question for rows by key lets others of its server wait for this long
	UnknownFor time.Duration // from the first question about another router's op until it is said to be in no log
	Learn      time.Duration // for the bus to tell the last seq of a log that this router sees for the first time, and for its replicas without a bus

	MaxInFlight int // questions for rows by key at one server at a time
	Ahead       int // shards of a range that are read at the same time
	Prefetch    int // bytes of each that wait to be sent on
	Hold        int // bytes of an answer that are gathered before any is sent, so that a failure is told properly
	MaxOld      int // bytes of an answer to a client of HTTP/1.0, which cannot see that one is cut off
}

// DefaultConfig is what `ringway up` uses.
func DefaultConfig() Config {
	return Config{
		Scale: 150 * time.Second, Write: 20 * time.Second, Read: 10 * time.Second,
		Try: 3 * time.Second, Stall: 10 * time.Second, Connect: time.Second, Keep: 4 * time.Second,
		Avoid: time.Second, Hedge: 250 * time.Millisecond, Stagger: 10 * time.Millisecond, Learn: 2 * time.Second,
		UnknownFor:  events.LogDedup, // writers send a batch again for less than this
		MaxInFlight: 8, Ahead: 4, Prefetch: 256 << 10, Hold: 64 << 10, MaxOld: 10 << 20,
	}
}

func (c *Config) check() error {
	for _, d := range []time.Duration{c.Scale, c.Write, c.Read, c.Try, c.Stall, c.Connect, c.Keep, c.Avoid, c.Hedge, c.Stagger, c.Learn, c.UnknownFor} {
		if d <= 0 {
			return fmt.Errorf("times: %s is too short; all must be positive", d)
		}
	}
	if c.MaxInFlight < 1 || c.Ahead < 1 || c.Prefetch < 1 || c.Hold < 0 || c.MaxOld < 0 {
		return errors.New("limits: flying, ahead and prefetch are at least 1, the others are not negative")
	}
	return nil
}

// Logs are the logs of shards.
type Logs interface {
	oplog.Log
	// State is what a log holds now.
	State(ctx context.Context, log events.LogID) (events.LogState, error)
}

// Leader decides. Ask sends req, always with the same id, until the leader
// answers or ctx ends: its *events.StatusError, events.ErrNoLeader if nobody can
// have acted on it, or events.ErrUnknownOutcome.
type Leader interface {
	Ask(ctx context.Context, verb string, req, reply any) error
}

// Database serves all tables. New starts nothing; Run does.
type Database struct {
	cfg        Config
	logs       Logs
	leader     Leader
	log        *slog.Logger
	metrics    *metrics
	writer     *oplog.Writer
	unknownOps unknownOps

	late   sync.Pool              // of timers that do not run
	tables atomic.Pointer[tables] // one immutable snapshot
	swap   sync.Mutex             // orders the writers of tables
	news   chan struct{}          // closed at the next swap; under swap
	peers  map[string]*peer       // by address; under swap
	learn  chan struct{}          // a shard was seen for the first time
	began  chan struct{}          // closed once Run runs

	mu   sync.Mutex
	ctx  context.Context // of Run, for answers that outlive their handler; nil: not running
	work sync.WaitGroup
}

// New builds a database without a table.
func New(cfg Config, logs Logs, listener oplog.Listener, leader Leader, registry prometheus.Registerer, log *slog.Logger) (*Database, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new database: %w", err)
	}
	d := &Database{
		cfg: cfg, logs: logs, leader: leader, log: log, metrics: newMetrics(registry),
		news: make(chan struct{}), peers: map[string]*peer{}, learn: make(chan struct{}, 1), began: make(chan struct{}),
		unknownOps: unknownOps{ops: map[string]*unknownOp{}},
	}
	d.late.New = func() any {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	d.tables.Store(&tables{})
	var err error
	if d.writer, err = oplog.New(oplog.DefaultConfig(), logs, listener, d, log); err != nil {
		return nil, fmt.Errorf("new database: %w", err)
	}
	return d, nil
}

// Began is closed once Run runs. Clients that come before are refused.
func (d *Database) Began() <-chan struct{} { return d.began }

// Run serves until ctx ends, and returns when all that it started has ended.
// End the clients first. It is called once.
func (d *Database) Run(ctx context.Context) {
	d.mu.Lock()
	d.ctx = ctx
	d.mu.Unlock()
	close(d.began)
	var loops sync.WaitGroup
	loops.Go(func() { d.write(ctx) })
	loops.Go(func() { d.learnMinSeqs(ctx) })
	loops.Go(func() { d.sweep(ctx) })
	<-ctx.Done()
	d.mu.Lock()
	d.ctx = nil
	d.mu.Unlock()
	loops.Wait()
	d.work.Wait()
	d.swap.Lock()
	defer d.swap.Unlock()
	for _, p := range d.peers {
		p.retire()
	}
}

// start runs fn as part of Run; false when that has ended.
func (d *Database) start(fn func(context.Context)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return false
	}
	ctx := d.ctx
	d.work.Go(func() { fn(ctx) })
	return true
}

// bounded is Run's context for at most so long. A request's own ends no sooner,
// and costs a goroutine to derive from.
func (d *Database) bounded(timeout time.Duration) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		ended, cancel := context.WithCancelCause(context.Background())
		cancel(errStopping)
		ctx = ended
	}
	return context.WithTimeout(ctx, timeout)
}

// write keeps the writer running.
func (d *Database) write(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.writer.Run(ctx); err != nil {
			d.log.Warn("the logs cannot be written", events.KeyError, err)
			wait(ctx, time.Second)
		}
	}
}

// sweep ends connections that nobody has used for long.
func (d *Database) sweep(ctx context.Context) {
	tick := time.NewTicker(d.cfg.Keep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			d.swap.Lock()
			for _, p := range d.peers {
				p.expire(now.Add(-d.cfg.Keep))
			}
			d.swap.Unlock()
		}
	}
}

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
