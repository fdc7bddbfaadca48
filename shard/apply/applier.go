// Package apply moves a replica along the log of its shard.
//
// An Applier reads the log ahead of the store, and applies what is there in one
// transaction: in order, each batch once. The replica's position lies in the
// store and moves in the same transaction, so a crash at any point loses nothing
// and applies nothing twice, and a second applier is fenced.
package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
	"ringway/internal/notify"
	"ringway/shard/storage"
)

// Log is the log of a shard. Read calls fn for every message after a
// position, in order and without a gap, until ctx ends, and reports whether more
// follow at once; it fails with events.ErrLogPurged, ErrLogForeign or
// ErrLogMissing when the log is not the continuation of what the position
// stands for.
type Log interface {
	Read(ctx context.Context, after events.Position, fetch shardlog.BatchReader, fn func(seq uint64, at time.Time, data []byte, more bool) error) error
}

// Publisher publishes the results of batches to their writers. That is a hint: a
// writer that does not get it asks for them.
type Publisher interface {
	Publish(subject string, v any) error
}

// Applier moves one replica along its log: in order, each batch once, as many
// as are there in one transaction. It keeps no position of its own: after a
// start, a failure or a crash it reads the store's and continues after that. It
// never skips a batch: one that it cannot apply ends it.
type Applier struct {
	cfg    Config
	store  storage.Store
	log    Log
	out    Publisher
	logger *slog.Logger

	unpublished []shardlog.Entry // of a transaction whose end is not known

	last      atomic.Int64 // ops of the last transaction
	mu        sync.Mutex
	applied   events.Position
	moved     notify.Cond   // applied, under mu
	flush     notify.Signal // a reader waits for it to move
	responder bool
	recent    recent // of what was applied, published or not
}

// New starts nothing. One Run at a time moves a store; a second one
// elsewhere is fenced by the store.
func New(cfg Config, store storage.Store, log Log, out Publisher, logger *slog.Logger) *Applier {
	spec := store.Spec()
	return &Applier{cfg: cfg, store: store, log: log, out: out, flush: notify.NewSignal(), responder: cfg.Responder,
		logger: logger.With(events.KeyTable, spec.Table, events.KeyShard, spec.Shard.ID)}
}

// Applied is how far the replica has come, as far as this applier knows.
func (a *Applier) Applied() events.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}

// Wait returns when the replica has applied seq, or ctx ends.
func (a *Applier) Wait(ctx context.Context, seq uint64) error {
	err := a.moved.Await(ctx, &a.mu, func() bool {
		if a.applied.Incarnation != "" && a.applied.Seq >= seq {
			return true
		}
		a.flush.Notify()
		return false
	})
	if err != nil {
		return fmt.Errorf("wait for seq %d, at %d: %w", seq, a.Applied().Seq, err)
	}
	return nil
}

// SetResponder makes it the replica that answers writers, or one that does not.
// A new responder publishes the results of the last moments again: its
// predecessor may have died before it published them.
func (a *Applier) SetResponder(responder bool) {
	a.mu.Lock()
	var again []publishedResults
	if responder && !a.responder {
		again = a.recent.since(time.Now().Add(-a.cfg.Republish))
	}
	a.responder = responder
	a.mu.Unlock()
	a.flush.Notify()
	for i := range again {
		a.publish(again[i].writer, again[i].results)
	}
}

func (a *Applier) isResponder() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.responder
}

// Run applies until ctx ends (nil) or the replica cannot go on: the log's
// ErrLogPurged, ErrLogForeign or ErrLogMissing, ErrFenced when another applier
// is at work, and what else does not pass by itself. What failed can be tried
// again by another Run.
func (a *Applier) Run(ctx context.Context) error {
	fenced, wait := 0, a.cfg.RetryMin
	for {
		before := a.Applied()
		err := a.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if a.Applied() != before {
			fenced, wait = 0, a.cfg.RetryMin
		}
		switch {
		case errors.Is(err, storage.ErrFenced):
			if fenced++; fenced > a.cfg.MaxFenced {
				return fmt.Errorf("apply: %w", err)
			}
		case !errors.Is(err, storage.ErrRetry):
			return fmt.Errorf("apply: %w", err)
		}
		a.logger.Warn("apply again", events.KeyError, err, "wait", wait)
		a.fault(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, a.cfg.RetryMax)
	}
}

// run reads the store's position and applies from there until something fails.
func (a *Applier) run(ctx context.Context) error {
	at, err := a.store.Position(ctx)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if a.cfg.Cache != nil {
		a.cfg.Cache.Begin(at)
	}
	a.move(at)
	a.fault(nil)
	a.publishLate(ctx, at)
	ctx, cancel := context.WithCancel(ctx)
	queue := newReadAhead(a.cfg.MaxReadAhead, a.cfg.Budget)
	ended := make(chan error, 1)
	go func() {
		ended <- a.log.Read(ctx, at, a.batchReader(), func(seq uint64, when time.Time, data []byte, more bool) error {
			batch, err := shardlog.DecodeBatch(data)
			if err != nil {
				return fmt.Errorf("seq %d: %w", seq, err)
			}
			return queue.put(ctx, shardlog.Entry{Seq: seq, Time: when, Batch: batch}, len(data), more)
		})
		queue.close()
	}()
	err = a.drain(ctx, at, queue)
	cancel()
	queue.drop()
	if readErr := <-ended; err == nil {
		err = readErr
	}
	return err
}

// batchReader has the log fetched in batches while the replica is not the responder.
func (a *Applier) batchReader() batchReader {
	return batchReader{responder: a.isResponder, delay: func() time.Duration { return a.cfg.delay(a.last.Load()) }, flush: a.flush}
}

// drain applies what is read ahead until the reader has ended or the store fails.
func (a *Applier) drain(ctx context.Context, at events.Position, queue *readAhead) error {
	var rest []shardlog.Entry
	for {
		entries := rest
		if entries == nil {
			entries = queue.take(a.cfg.MaxEntries)
			if entries == nil {
				return nil
			}
		}
		entries, rest = atMarker(entries)
		a.last.Store(int64(ops(entries)))
		done, err := a.store.Apply(ctx, at, entries)
		if err != nil && failpoint.Broken("skip") {
			err = a.skip(ctx, at, entries)
		}
		if err != nil {
			a.unpublished = entries
			return fmt.Errorf("seq %d to %d: %w", entries[0].Seq, entries[len(entries)-1].Seq, err)
		}
		failpoint.Hit("after-commit")
		end := &entries[len(entries)-1]
		at = events.Position{Incarnation: at.Incarnation, Seq: end.Seq, Batch: end.Batch.ID}
		a.updateCache(at, entries, done)
		a.move(at)
		a.publishResults(entries, done)
		if a.cfg.Marker != nil && isMarker(&end.Batch) {
			a.cfg.Marker(end.Batch.ID)
		}
	}
}

func (a *Applier) updateCache(at events.Position, entries []shardlog.Entry, done []shardlog.Results) {
	switch {
	case a.cfg.Cache == nil:
	case len(done) != len(entries): // skipped
		a.cfg.Cache.Begin(at)
	default:
		a.cfg.Cache.Applied(entries, done)
	}
}

// skip is what an applier must not do. Tests prove that it is noticed.
func (a *Applier) skip(ctx context.Context, at events.Position, entries []shardlog.Entry) error {
	last := entries[len(entries)-1]
	for {
		err := a.store.Rebase(ctx, at, events.Position{Incarnation: at.Incarnation, Seq: last.Seq, Batch: last.Batch.ID})
		if err == nil || errors.Is(err, storage.ErrFenced) || ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(a.cfg.RetryMin)
	}
}

// atMarker cuts entries behind the first that asks for a digest, so that the
// state after it can be seen.
func atMarker(entries []shardlog.Entry) (head, rest []shardlog.Entry) {
	for i := range entries[:len(entries)-1] {
		if isMarker(&entries[i].Batch) {
			return entries[:i+1], entries[i+1:]
		}
	}
	return entries, nil
}

func ops(entries []shardlog.Entry) (n int) {
	for i := range entries {
		n += len(entries[i].Batch.Ops)
	}
	return n
}

func isMarker(b *shardlog.Batch) bool {
	return slices.ContainsFunc(b.Ops, func(op shardlog.Op) bool { return op.Kind == shardlog.OpDigest })
}

// publishResults sends each writer the results of its batches, if this replica
// is the responder. A writer asks for a message that was lost.
func (a *Applier) publishResults(entries []shardlog.Entry, done []shardlog.Results) {
	now := time.Now()
	a.mu.Lock()
	for i := range done {
		a.recent.add(publishedResults{now, entries[i].Batch.Writer, done[i]})
	}
	responder := a.responder
	a.mu.Unlock()
	if !responder {
		return
	}
	failpoint.Hit("before-result")
	for i := range done {
		a.publish(entries[i].Batch.Writer, done[i])
	}
}

// publishLate publishes the results of a transaction whose commit happened but
// whose answer was lost.
func (a *Applier) publishLate(ctx context.Context, at events.Position) {
	for i, e := range a.unpublished {
		if e.Seq > at.Seq {
			break
		}
		if r, err := a.store.Results(ctx, e.Batch.ID); err == nil { // else the writer asks
			a.publishResults(a.unpublished[i:i+1], []shardlog.Results{r})
		}
	}
	a.unpublished = nil
}

func (a *Applier) publish(writer string, r shardlog.Results) {
	if err := a.out.Publish(events.ResultSubject(writer, r.Table, r.Shard), r); err != nil {
		a.logger.Debug("result not sent", "batch", r.Batch, events.KeyError, err)
	}
}

func (a *Applier) fault(err error) {
	if a.cfg.Fault != nil {
		a.cfg.Fault(err)
	}
}

func (a *Applier) move(to events.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to != a.applied {
		a.applied = to
		a.moved.Broadcast()
	}
}
