package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
)

// ApplierConfig says how an applier works.
type ApplierConfig struct {
	Eager      bool          // answers writers, and commits what is there at once
	Gather     time.Duration // how long one that is not eager waits for more, so that it commits less often
	MaxEntries int           // messages of one transaction
	MaxWaiting int           // bytes of messages read ahead of the store
	RetryMin   time.Duration // first wait after a failure that may pass; doubles
	RetryMax   time.Duration
	MaxFenced  int // times in a row that another applier may have been first
}

// DefaultApplierConfig keeps a replica within some milliseconds of its log.
func DefaultApplierConfig() ApplierConfig {
	return ApplierConfig{
		Eager: true, Gather: 5 * time.Millisecond, MaxEntries: 512, MaxWaiting: 8 << 20,
		RetryMin: 10 * time.Millisecond, RetryMax: time.Second, MaxFenced: 10,
	}
}

// reader is the log of a shard. Read calls fn for every message after a
// position, in order and without a gap, until ctx ends; it fails with
// events.ErrLogPurged, ErrLogForeign or ErrLogMissing when the log is not the
// continuation of what the position stands for.
type reader interface {
	Read(ctx context.Context, after events.Position, fn func(seq uint64, at time.Time, data []byte) error) error
}

// results carries what became of batches to their writers. It is a hint: who
// does not hear it asks for it.
type results interface {
	Publish(subject string, v any) error
}

// Applier moves one replica along its log: in order, each batch once, as many
// as are waiting in one transaction. It keeps no position of its own: start,
// failure and crash all mean to read the store's and to go on after it. It
// never skips: what it cannot apply ends it.
type Applier struct {
	cfg   ApplierConfig
	store Store
	log   reader
	out   results
	say   *slog.Logger

	untold []events.LogEntry // of a transaction whose end is not known

	mu      sync.Mutex
	applied events.Position
	moved   chan struct{} // closed when applied moves
}

// NewApplier starts nothing. One Run at a time moves a store; a second one
// elsewhere is fenced by the store.
func NewApplier(cfg ApplierConfig, store Store, log reader, out results, say *slog.Logger) *Applier {
	spec := store.Spec()
	return &Applier{cfg: cfg, store: store, log: log, out: out, moved: make(chan struct{}),
		say: say.With(events.KeyTable, spec.Table, events.KeyShard, spec.Shard.ID)}
}

// Applied is how far the replica has come, as far as this applier knows.
func (a *Applier) Applied() events.Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}

// Wait returns when the replica has applied seq, or ctx ends.
func (a *Applier) Wait(ctx context.Context, seq uint64) error {
	for {
		a.mu.Lock()
		applied, moved := a.applied, a.moved
		a.mu.Unlock()
		if applied.Incarnation != "" && applied.Seq >= seq {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for seq %d, at %d: %w", seq, applied.Seq, context.Cause(ctx))
		case <-moved:
		}
	}
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
		case errors.Is(err, ErrFenced):
			if fenced++; fenced > a.cfg.MaxFenced {
				return fmt.Errorf("apply: %w", err)
			}
		case !errors.Is(err, ErrRetry):
			return fmt.Errorf("apply: %w", err)
		}
		a.say.Warn("apply again", events.KeyError, err, "wait", wait)
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
	a.move(at)
	a.tellLate(ctx, at)
	ctx, cancel := context.WithCancel(ctx)
	waiting := newWaiting(a.cfg.MaxWaiting)
	ended := make(chan error, 1)
	go func() {
		ended <- a.log.Read(ctx, at, func(seq uint64, when time.Time, data []byte) error {
			batch, err := events.DecodeBatch(data)
			if err != nil {
				return fmt.Errorf("seq %d: %w", seq, err)
			}
			return waiting.put(ctx, events.LogEntry{Seq: seq, Time: when, Batch: batch}, len(data))
		})
		waiting.close()
	}()
	err = a.drain(ctx, at, waiting)
	cancel()
	waiting.close()
	if readErr := <-ended; err == nil {
		err = readErr
	}
	return err
}

// drain applies what is waiting until the reader has ended or the store fails.
func (a *Applier) drain(ctx context.Context, at events.Position, waiting *waiting) error {
	for {
		entries := waiting.take(a.cfg.MaxEntries)
		if entries == nil {
			return nil
		}
		if !a.cfg.Eager && len(entries) < a.cfg.MaxEntries {
			entries = a.gather(ctx, waiting, entries)
		}
		done, err := a.store.Apply(ctx, at, entries)
		if err != nil {
			a.untold = entries
			return fmt.Errorf("seq %d to %d: %w", entries[0].Seq, entries[len(entries)-1].Seq, err)
		}
		last := entries[len(entries)-1]
		at = events.Position{Incarnation: at.Incarnation, Seq: last.Seq, Batch: last.Batch.ID}
		a.move(at)
		if a.cfg.Eager {
			a.tell(entries, done)
		}
	}
}

// gather waits a little for more, which makes the transaction larger.
func (a *Applier) gather(ctx context.Context, waiting *waiting, entries []events.LogEntry) []events.LogEntry {
	select {
	case <-ctx.Done():
	case <-time.After(a.cfg.Gather):
	}
	return append(entries, waiting.poll(a.cfg.MaxEntries-len(entries))...)
}

// tell sends each writer what became of its batches. A message that is lost is
// asked for.
func (a *Applier) tell(entries []events.LogEntry, done []events.Results) {
	for i := range done {
		a.tellOne(entries[i], done[i])
	}
}

// tellLate tells what a transaction did whose commit came but not its answer.
func (a *Applier) tellLate(ctx context.Context, at events.Position) {
	for _, e := range a.untold {
		if !a.cfg.Eager || e.Seq > at.Seq {
			break
		}
		if r, err := a.store.Results(ctx, e.Batch.ID); err == nil { // else the writer asks
			a.tellOne(e, r)
		}
	}
	a.untold = nil
}

func (a *Applier) tellOne(e events.LogEntry, r events.Results) {
	spec := a.store.Spec()
	if err := a.out.Publish(events.ResultSubject(e.Batch.Writer, spec.Table, spec.Shard.ID), r); err != nil {
		a.say.Debug("result not sent", "batch", r.Batch, events.KeyError, err)
	}
}

func (a *Applier) move(to events.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if to != a.applied {
		a.applied = to
		close(a.moved)
		a.moved = make(chan struct{})
	}
}
