package oplog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/notify"
)

// Config bounds a writer. Times are of the wall clock, sizes bytes of JSON.
type Config struct {
	Writer        string        // id to which results are sent; unique, also among lives of one process
	BatchBytes    int           // target of a batch; one op alone may be larger
	QueueBytes    int           // of ops that wait for their batch, for each log; more are refused
	QueueOps      int           // of ops whose results are not there, for each log; more are refused
	MaxInFlight   int           // batches without results, for each log, while which the next one is held for Linger
	Linger        time.Duration // how long a batch is held while MaxInFlight others have no results
	DelayPerOp    time.Duration // wait after an answer for each op but one that was there; see logQueue.delay
	MaxDelay      time.Duration // bound of that wait, unless the batch before took longer
	Patience      time.Duration // how long an op waits to be sent for the first time
	Resend        time.Duration // how long a batch that may be stored is sent again; below shardlog.LogDedup
	LookupAfter   time.Duration // without results before they are looked up at a replica, and between two times
	LookupTimeout time.Duration // of one lookup
	ResultWait    time.Duration // from a batch's acknowledgement until its results are given up
}

// DefaultConfig is a writer under a name of its own.
func DefaultConfig() Config {
	return Config{
		Writer:        rand.Text(),
		BatchBytes:    shardlog.TargetBatchBytes,
		QueueBytes:    16 << 20, // ten ops of the largest size, or the rows of 100,000 clients
		QueueOps:      100_000,
		MaxInFlight:   1,
		Linger:        25 * time.Millisecond, // for results that are lost or slow
		DelayPerOp:    250 * time.Microsecond,
		MaxDelay:      3 * time.Millisecond,
		Patience:      5 * time.Second, // a restart of the bus
		Resend:        time.Minute,     // five elections
		LookupAfter:   time.Second,
		LookupTimeout: 2 * time.Second,
		ResultWait:    30 * time.Second,
	}
}

// Log stores batches.
type Log interface {
	// Append returns the seq of a batch when it is durable. The same id within
	// shardlog.LogDedup is stored once. events.ErrUnknownOutcome: only the same
	// call again can find out. Any other error: nothing was stored. It returns soon
	// after ctx ended and keeps nothing of data.
	Append(ctx context.Context, log events.LogID, id string, data []byte) (seq uint64, err error)
}

// Listener receives what is published now; messages may get lost.
type Listener interface {
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
}

// ResultReader reads from a replica of a shard what became of a batch. events.ErrNotFound:
// it has not applied it, or no longer knows.
type ResultReader interface {
	Results(ctx context.Context, log events.LogID, batch string) (shardlog.Results, error)
}

// Writer writes ops to the logs of any number of shards.
type Writer struct {
	cfg      Config
	logs     Log
	listener Listener
	replicas ResultReader
	log      *slog.Logger

	prefix string // of batch ids, no two lives share it

	begun chan struct{} // closed once Run takes ops
	begin func()
	calls sync.Pool // of those that nobody else refers to any more

	mu      sync.Mutex
	ctx     context.Context // of Run, for what Do starts; nil: not running
	batches uint64
	queues  map[events.LogID]*logQueue
	sent    map[string]*batch // by id, results outstanding
	work    sync.WaitGroup
}

// New builds a writer that takes ops while Run runs. The first ones may come
// before it does.
func New(cfg Config, logs Log, listener Listener, replicas ResultReader, log *slog.Logger) *Writer {
	begun := make(chan struct{})
	return &Writer{
		cfg: cfg, logs: logs, listener: listener, replicas: replicas, log: log, prefix: rand.Text() + "-",
		begun: begun, begin: sync.OnceFunc(func() { close(begun) }),
		queues: map[events.LogID]*logQueue{}, sent: map[string]*batch{},
	}
}

// Run writes until ctx ends. Ops that are on their way then have an unknown
// outcome: end the callers of Do first. It returns when no goroutine is left.
func (w *Writer) Run(ctx context.Context) error {
	stop, err := w.listener.Listen(events.AllResults(w.cfg.Writer), func(_ string, data []byte) { w.results(data) })
	if err != nil {
		return fmt.Errorf("writer %s: %w", w.cfg.Writer, err)
	}
	w.mu.Lock()
	w.ctx = ctx
	w.mu.Unlock()
	w.begin()
	w.expireOverdue(ctx)
	w.mu.Lock()
	w.ctx = nil
	w.mu.Unlock()
	stop()
	w.work.Wait()
	for _, l := range w.all() {
		l.end(errEnded)
	}
	return nil
}

var errEnded = errors.New("the writer has ended")

// expireOverdue looks after ops whose time is over and results that do not come.
func (w *Writer) expireOverdue(ctx context.Context) {
	tick := time.NewTicker(min(w.cfg.LookupAfter, w.cfg.Patience, w.cfg.ResultWait) / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, l := range w.all() {
				l.expire(now)
				w.forgetIdle(l)
			}
		}
	}
}

// Do writes one op and returns what became of it. The op has to fit its table:
// callers check it with Op.Validate.
//
// events.ErrUnknownOutcome, always as *Unknown: it may be in the log, now or
// later. Any other error: it is not. A *events.StatusError has an HTTP status: 400 no op,
// 413 too large, 503 the log is away or full, or too many ops wait.
func (w *Writer) Do(ctx context.Context, log events.LogID, op *shardlog.Op) (Result, error) {
	c, err := w.newCall(op, 0)
	if err != nil {
		return Result{}, err
	}
	if err := w.awaitRunning(ctx); err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	if err := w.put(log, c); err != nil {
		return Result{}, err
	}
	select {
	case a := <-c.done:
		return c.finish(a)
	case <-ctx.Done():
		a := c.queue.abandon(c, context.Cause(ctx))
		return a.result, a.err
	}
}

// DoFor is Do for at most so long, or until Run ends. It looks after the time
// itself, to a quarter of Config.LookupAfter, which costs less than a context for
// each op; the cause of what is late is context.DeadlineExceeded. It does not
// wait for a writer that Runs not yet: that is 503.
func (w *Writer) DoFor(limit time.Duration, log events.LogID, op *shardlog.Op) (Result, error) {
	c, err := w.newCall(op, limit)
	if err != nil {
		return Result{}, err
	}
	if err := w.put(log, c); err != nil {
		return Result{}, err
	}
	return c.finish(<-c.done) // Run answers all, before it returns at the latest
}

// Running reports whether Run has begun to take ops.
func (w *Writer) Running() bool {
	select {
	case <-w.begun:
		return true
	default:
		return false
	}
}

// Owns reports whether a batch id is of this writer.
func (w *Writer) Owns(batch string) bool { return strings.HasPrefix(batch, w.prefix) }

// put queues a call for the log.
func (w *Writer) put(log events.LogID, c *call) error {
	for {
		l, err := w.queue(log)
		if err != nil {
			return err
		}
		if joined, err := l.put(c); joined || err != nil {
			return err
		}
	}
}

// awaitRunning returns once Run takes ops: clients come as soon as their sockets
// are there, and listening needs a bus that answers.
func (w *Writer) awaitRunning(ctx context.Context) error {
	if w.Running() {
		return nil
	}
	late := time.NewTimer(w.cfg.Patience)
	defer late.Stop()
	select {
	case <-w.begun:
		return nil
	case <-late.C:
		return errNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errNotRunning = events.StatusErrorf(503, "the writer is not running")

// queue finds or makes the queue of a log.
func (w *Writer) queue(id events.LogID) (*logQueue, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		return nil, fmt.Errorf("write to %s: %w", id, errNotRunning)
	}
	l, ok := w.queues[id]
	if !ok {
		if err := id.Validate(); err != nil {
			return nil, err
		}
		l = &logQueue{writer: w, id: id, notified: notify.NewSignal()}
		w.queues[id] = l
	}
	return l, nil
}

func (w *Writer) all() []*logQueue {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*logQueue, 0, len(w.queues))
	for _, l := range w.queues {
		all = append(all, l)
	}
	return all
}

// forgetIdle forgets a queue that has nothing to do: logs come and go. Who takes
// both locks takes the queue's first.
func (w *Writer) forgetIdle(l *logQueue) {
	if !l.retire() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.queues, l.id)
}

// start runs fn as part of Run; it reports false when Run has ended.
func (w *Writer) start(fn func(context.Context)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx == nil {
		return false
	}
	ctx := w.ctx
	w.work.Go(func() { fn(ctx) })
	return true
}

// register gives a batch its id and awaits its results.
func (w *Writer) register(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches++
	b.id = w.prefix + strconv.FormatUint(w.batches, 36)
	w.sent[b.id] = b
}

func (w *Writer) forget(b *batch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sent, b.id)
}

// results takes what an applier publishes.
func (w *Writer) results(data []byte) {
	r, err := shardlog.DecodeResults(data)
	if err != nil {
		w.log.Warn("no results", events.KeyError, err)
		return
	}
	w.mu.Lock()
	b := w.sent[r.Batch]
	w.mu.Unlock()
	if b == nil {
		return // answered before, or given up
	}
	if err := b.queue.resolve(b, r); err != nil {
		w.log.Warn("no results", events.KeyTable, r.Table, events.KeyShard, r.Shard, events.KeyError, err)
	}
}
