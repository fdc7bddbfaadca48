package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// Store is one replica.
type Store struct {
	*file
	spec events.ShardSpec

	mu     sync.Mutex
	purged time.Time // clock of the last purge
}

var _ storage.Store = (*Store)(nil)

// purgeEvery is how often, by the log's time, what is out of date is erased;
// maxPurged bounds what one transaction has to carry of it.
const (
	purgeEvery = 5 * time.Second
	maxPurged  = 5000
)

// Spec implements storage.Store.
func (s *Store) Spec() events.ShardSpec { return s.spec }

// Position implements storage.Store.
func (s *Store) Position(ctx context.Context) (events.Position, error) {
	var p events.Position
	calm, err := s.reading.enter(ctx)
	if err == nil {
		defer s.reading.leave()
		p, _, err = position(calm, s.read)
	}
	if err != nil {
		return events.Position{}, fmt.Errorf("position of shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return p, nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func position(ctx context.Context, db querier) (p events.Position, clock time.Time, err error) {
	var at int64
	err = db.QueryRowContext(ctx, "SELECT incarnation, seq, batch, clock FROM _replica WHERE copying = 0").Scan(&p.Incarnation, &p.Seq, &p.Batch, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = events.ErrNotFound
	}
	return p, state.FromNanos(at), err
}

// Apply implements storage.Store.
func (s *Store) Apply(ctx context.Context, from events.Position, entries []shardlog.Entry) ([]shardlog.Results, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	var change state.Change
	put := func(ctx context.Context, tx *sql.Tx) error {
		if err := s.put(ctx, tx, &change); err != nil {
			return err
		}
		if err := s.purge(ctx, tx, change.Clock); err != nil {
			return err
		}
		failpoint.Hit("before-commit")
		return nil
	}
	err := s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		before, err := s.look(ctx, tx, from, state.Need(entries))
		if err != nil {
			return err
		}
		if change, err = state.Settle(&s.spec, before, entries); err != nil {
			return err
		}
		p := change.Position
		if err := one(tx.StmtContext(ctx, s.move).ExecContext(ctx, p.Incarnation, int64(p.Seq), p.Batch, state.Nanos(change.Clock), from.Incarnation, int64(from.Seq), from.Batch)); err != nil {
			return err
		}
		if failpoint.Broken("position") {
			return nil
		}
		return put(ctx, tx)
	})
	if err == nil && failpoint.Broken("position") {
		err = s.transact(ctx, put)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %d to %d to shard %s: %w", entries[0].Seq, entries[len(entries)-1].Seq, s.spec.Shard.ID, classify(err))
	}
	return change.Answers, nil
}

// transact runs fn in a transaction, with a context that nobody cancels. If
// ctx has ended by then, nothing is done.
func (s *Store) transact(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	calm, err := s.writing.enter(ctx)
	if err != nil {
		return err
	}
	defer s.writing.leave()
	tx, err := s.write.BeginTx(calm, nil)
	if err != nil {
		return err
	}
	if err = fn(calm, tx); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = tx.Rollback() // what the file holds is what was committed
		return err
	}
	return tx.Commit()
}

// one demands that a compare-and-set found its row.
func one(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(storage.ErrFenced, err)
	}
	return nil
}

// look reads what need asks for. The transaction has the write lock already.
func (s *Store) look(ctx context.Context, tx *sql.Tx, from events.Position, need state.Needs) (*state.Before, error) {
	at, clock, err := position(ctx, tx)
	if err == nil && at != from {
		err = fmt.Errorf("at %s, not at %s: %w", at, from, storage.ErrFenced)
	}
	if err != nil {
		return nil, err
	}
	b := &state.Before{
		Position: from, Clock: clock, Keys: map[int64]bool{},
		Results: map[string]shardlog.KeptResults{}, Idempotency: map[string]shardlog.KeptIdempotency{},
	}
	found := func(err error) (bool, error) {
		if errors.Is(err, sql.ErrNoRows) {
			return false, nil
		}
		return err == nil, err
	}
	find := tx.StmtContext(ctx, s.find)
	for _, key := range need.Keys {
		var n int
		if b.Keys[key], err = found(find.QueryRowContext(ctx, key).Scan(&n)); err != nil {
			return nil, err
		}
	}
	find = tx.StmtContext(ctx, s.findResults)
	for _, id := range need.Batches {
		kept, err := state.ReadResults(&s.spec, find.QueryRowContext(ctx, id))
		if ok, err := found(err); err != nil {
			return nil, err
		} else if ok {
			b.Results[id] = kept
		}
	}
	find = tx.StmtContext(ctx, s.findIdempotency)
	for _, key := range need.Idempotency {
		kept, err := state.ReadIdempotency(find.QueryRowContext(ctx, key))
		if ok, err := found(err); err != nil {
			return nil, err
		} else if ok {
			b.Idempotency[key] = kept
		}
	}
	return b, nil
}

// put writes a change.
func (s *Store) put(ctx context.Context, tx *sql.Tx, c *state.Change) error {
	remove, forget := tx.StmtContext(ctx, s.remove), tx.StmtContext(ctx, s.forgetResults)
	for _, key := range c.Delete {
		if _, err := remove.ExecContext(ctx, key); err != nil {
			return err
		}
	}
	for _, batch := range c.Forget {
		if _, err := forget.ExecContext(ctx, batch); err != nil {
			return err
		}
	}
	if err := s.putRows(ctx, tx.StmtContext(ctx, s.insert), c.Insert); err != nil {
		return err
	}
	if err := s.putRows(ctx, tx.StmtContext(ctx, s.update), c.Update); err != nil {
		return err
	}
	results := tx.StmtContext(ctx, s.putResults)
	for _, k := range c.Results {
		r, body := k.Results, []byte{}
		if len(r.Notable) > 0 {
			var err error
			if body, err = json.Marshal(r.Notable); err != nil {
				return err
			}
		}
		if _, err := results.ExecContext(ctx, int64(r.Seq), r.Batch, state.Nanos(k.At), r.Ops, body); err != nil {
			return err
		}
	}
	keys := tx.StmtContext(ctx, s.putIdempotency)
	for _, k := range c.Idempotency {
		first, err := json.Marshal(k.First)
		if err != nil {
			return err
		}
		if _, err := keys.ExecContext(ctx, k.Key, k.Body, state.Nanos(k.At), k.Op, first); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) putRows(ctx context.Context, stmt *sql.Stmt, rows []rowjson.Row) error {
	args := make([]any, len(s.spec.Schema.Columns)+1)
	for _, row := range rows {
		args[0] = row.Key()
		for i, v := range row[1:] {
			args[i+1] = v.Raw()
		}
		args[len(row)] = state.Kinds(&s.spec.Schema, row)
		if _, err := stmt.ExecContext(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// purge erases what is out of date, now and then. When it happens makes no
// difference to what anybody reads: out of date is decided by the clock.
func (s *Store) purge(ctx context.Context, tx *sql.Tx, clock time.Time) error {
	s.mu.Lock()
	due := clock.Sub(s.purged) >= purgeEvery
	if due {
		s.purged = clock
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	_, err := tx.StmtContext(ctx, s.purgeResults).ExecContext(ctx, state.OutOfDate(clock, shardlog.ResultsKept), maxPurged)
	if err == nil {
		_, err = tx.StmtContext(ctx, s.purgeIdempotency).ExecContext(ctx, state.OutOfDate(clock, shardlog.IdempotencyKept), maxPurged)
	}
	return err
}

// Rebase implements storage.Store.
func (s *Store) Rebase(ctx context.Context, from, to events.Position) error {
	err := s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE _replica SET incarnation = ?, seq = ?, batch = ? WHERE incarnation = ? AND seq = ? AND batch = ? AND copying = 0",
			to.Incarnation, int64(to.Seq), to.Batch, from.Incarnation, int64(from.Seq), from.Batch))
	})
	if err != nil {
		return fmt.Errorf("rebase shard %s from %s to %s: %w", s.spec.Shard.ID, from, to, classify(err))
	}
	return nil
}

// DurableThrough implements storage.Store.
func (s *Store) DurableThrough(ctx context.Context) (events.Position, error) {
	p, err := s.Position(ctx)
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		return events.Position{}, fmt.Errorf("durable position of shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return p, nil
}
