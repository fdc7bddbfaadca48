package sqlstore

import (
	"context"
	"fmt"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// purgeEvery is how often, by the log's time, what is out of date is erased;
// maxPurged bounds what one transaction has to carry of it.
const (
	purgeEvery = 5 * time.Second
	maxPurged  = 5000
)

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, from events.Position, entries []shardlog.Entry) ([]shardlog.Results, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	change, err := s.apply(ctx, from, entries)
	if err != nil {
		s.forget()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err) // whatever the driver made of it
		}
		return nil, fmt.Errorf("apply %d to %d to shard %s: %w", entries[0].Seq, entries[len(entries)-1].Seq, s.spec.Shard.ID, s.dialect.Classify(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.clock = change.Position, change.Clock
	return change.Answers, nil
}

func (s *Store) apply(ctx context.Context, from events.Position, entries []shardlog.Entry) (state.Change, error) {
	clock, err := s.clockAt(ctx, from)
	if err != nil {
		return state.Change{}, err
	}
	before := state.Before{Position: from, Clock: clock}
	change, fresh := state.Fresh(&s.spec, &before, entries)
	do := func(settle func(*transaction) error) error {
		return s.inTransaction(ctx, func(t *transaction) error {
			// The position first: its lock orders us after any other applier, and what
			// is looked up after that is the state at from.
			if err := t.move(&before, entries); err != nil {
				return err
			}
			if err := settle(t); err != nil {
				return err
			}
			if failpoint.Broken("position") {
				if err := t.commitPosition(); err != nil {
					return err
				}
			}
			if err := t.write(&change); err != nil {
				return err
			}
			if err := t.purge(change.Clock); err != nil {
				return err
			}
			failpoint.Hit("before-commit")
			return nil
		})
	}
	if fresh && !failpoint.Broken("position") {
		// Fast path: if a key or a batch is there after all, the database refuses it,
		// and nothing is done.
		if err := do(func(*transaction) error { return nil }); !s.dialect.Duplicate(err) {
			return change, err
		}
	}
	// Slow path: look first
	err = do(func(t *transaction) (err error) {
		need := state.Need(entries)
		if err := t.look(&need, &before); err != nil {
			return err
		}
		change, err = state.Settle(&t.spec, &before, entries)
		return err
	})
	return change, err
}

// clockAt is the clock of the replica at from, which the transaction then
// finds there or not.
func (s *Store) clockAt(ctx context.Context, from events.Position) (time.Time, error) {
	s.mu.Lock()
	known, clock := s.known, s.clock
	s.mu.Unlock()
	if known == from && !clock.IsZero() {
		return clock, nil
	}
	at, clock, err := s.position(ctx)
	if err == nil && at != from {
		err = fmt.Errorf("at %s, not at %s: %w", at, from, storage.ErrFenced)
	}
	return clock, err
}

// move moves the position behind entries, if it is where they begin.
func (t *transaction) move(before *state.Before, entries []shardlog.Entry) error {
	from, last := before.Position, &entries[len(entries)-1]
	clock := state.Nanos(state.ClockAfter(before.Clock, entries))
	return mustMove(t.exec("UPDATE "+t.at.Catalogue+" SET incarnation = ?, seq = ?, batch = ?, clock = ? "+t.at.whereAt(),
		from.Incarnation, int64(last.Seq), last.Batch.ID, clock, from.Incarnation, int64(from.Seq), from.Batch))
}

// commitPosition is what must not be done before the rows are written. Tests prove
// that it is noticed.
func (t *transaction) commitPosition() error {
	_, err := t.exec("COMMIT")
	if err == nil {
		err = t.begin()
	}
	return err
}

func (t *transaction) write(c *state.Change) error {
	for _, step := range []func() error{
		func() error { return t.deleteKeys(c.Delete) },
		func() error { return t.putRows(c.Insert, "") },
		func() error { return t.putRows(c.Update, t.overwrite()) },
		func() error { return t.forgetBatches(c.Forget) },
		func() error { return t.putResults(c.Results) },
		func() error { return t.putIdempotency(c.Idempotency) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// purge erases what is out of date, now and then. When it happens makes no
// difference to what anybody reads: out of date is decided by the clock.
func (t *transaction) purge(clock time.Time) error {
	t.mu.Lock()
	due := clock.Sub(t.purged) >= purgeEvery
	t.mu.Unlock()
	if !due {
		return nil
	}
	t.purges = clock
	_, err := t.exec(t.dialect.Purge(t.at.Results, "batch"), state.OutOfDate(clock, shardlog.ResultsKept), int64(maxPurged))
	if err == nil {
		_, err = t.exec(t.dialect.Purge(t.at.Keys, "name"), state.OutOfDate(clock, shardlog.IdempotencyKept), int64(maxPurged))
	}
	return err
}
