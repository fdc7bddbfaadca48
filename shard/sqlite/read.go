package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// rowReader reads one row after another into the same memory.
type rowReader struct {
	schema *events.Schema
	key    sql.NullInt64
	texts  []sql.NullString // the columns after the key, then the kinds
	plain  []string
	into   []any
}

func (s *Store) newRowReader(before ...any) *rowReader {
	n := len(s.spec.Schema.Columns)
	r := &rowReader{schema: &s.spec.Schema, texts: make([]sql.NullString, n), plain: make([]string, n)}
	r.into = append(before, &r.key)
	for i := range r.texts {
		r.into = append(r.into, &r.texts[i])
	}
	return r
}

// scan returns nil where a LEFT JOIN found no row.
func (r *rowReader) scan(rows *sql.Rows) (rowjson.Row, error) {
	if err := rows.Scan(r.into...); err != nil || !r.key.Valid {
		return nil, err
	}
	for i, t := range r.texts {
		r.plain[i] = t.String
	}
	last := len(r.plain) - 1
	return state.ReadRow(r.schema, r.key.Int64, r.plain[:last], r.plain[last])
}

// Many implements storage.Store.
func (s *Store) Many(ctx context.Context, keys []int64, fn func(rowjson.Row) error) (uint64, error) {
	if len(keys) == 0 || len(keys) > storage.MaxKeys {
		return 0, fmt.Errorf("read %d keys of shard %s: want 1 to %d", len(keys), s.spec.Shard.ID, storage.MaxKeys)
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return 0, err
	}
	seq, err := s.joined(ctx, s.in, []any{string(list)}, func(row rowjson.Row, _ uint64) error { return fn(row) })
	if err != nil {
		return seq, fmt.Errorf("read %d keys of shard %s: %w", len(keys), s.spec.Shard.ID, classify(err))
	}
	return seq, nil
}

// Range implements storage.Store.
func (s *Store) Range(ctx context.Context, low, high int64, fn func(rowjson.Row, uint64) error) (uint64, error) {
	seq, err := s.joined(ctx, s.on, []any{low, high}, fn)
	if err != nil {
		return seq, fmt.Errorf("range %d to %d of shard %s: %w", low, high, s.spec.Shard.ID, classify(err))
	}
	return seq, nil
}

// joined runs one query, which sees rows and position at one moment.
func (s *Store) joined(ctx context.Context, stmt *sql.Stmt, args []any, fn func(rowjson.Row, uint64) error) (uint64, error) {
	calm, err := s.reading.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer s.reading.leave()
	rows, err := stmt.QueryContext(calm, args...)
	if err != nil {
		return 0, err
	}
	var seq uint64
	reader := s.newRowReader(&seq)
	err = each(ctx, rows, func() error {
		row, err := reader.scan(rows)
		if err != nil || row == nil {
			return err
		}
		return fn(row, seq)
	})
	return seq, err
}

// each calls fn for every row, until ctx ends.
func each(ctx context.Context, rows *sql.Rows, fn func() error) error {
	var err error
	for err == nil && rows.Next() {
		if err = fn(); err == nil {
			err = ctx.Err()
		}
	}
	if err == nil {
		err = rows.Err()
	}
	if closed := rows.Close(); err == nil {
		err = closed
	}
	return err
}

// Results implements storage.Store.
func (s *Store) Results(ctx context.Context, batch string) (shardlog.Results, error) {
	var clock int64
	var kept shardlog.KeptResults
	calm, err := s.reading.enter(ctx)
	if err == nil {
		defer s.reading.leave()
		kept, err = state.ReadResults(&s.spec, s.read.QueryRowContext(calm,
			"SELECT k.batch, k.seq, k.at, k.ops, k.notable, p.clock FROM _results k, _replica p WHERE k.batch = ?", batch), &clock)
	}
	if errors.Is(err, sql.ErrNoRows) || err == nil && state.FromNanos(clock).Sub(kept.At) >= shardlog.ResultsKept {
		err = events.ErrNotFound
	}
	if err != nil {
		return shardlog.Results{}, fmt.Errorf("results of batch %.80q on shard %s: %w", batch, s.spec.Shard.ID, classify(err))
	}
	return kept.Results, nil
}

type snapshot struct {
	store *Store
	tx    *sql.Tx
	head  shardapi.CopyHead
}

// Snapshot implements storage.Store. The first read of the transaction fixes
// what it sees.
func (s *Store) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	calm, err := s.reading.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, err)
	}
	tx, err := s.read.BeginTx(calm, nil) // until Close
	if err != nil {
		s.reading.leave()
		return nil, fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	n := &snapshot{store: s, tx: tx, head: shardapi.CopyHead{Spec: s.spec}}
	if n.head.Position, n.head.Clock, err = position(calm, tx); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, classify(err)), n.Close())
	}
	return n, nil
}

func (n *snapshot) Head() shardapi.CopyHead { return n.head }

func (n *snapshot) Items(ctx context.Context, fn func(shardapi.CopyItem) error) error {
	s := n.store
	reader := s.newRowReader()
	err := n.each(ctx, "SELECT "+columnList(&s.spec.Schema, "")+" FROM _rows ORDER BY "+quote(s.spec.Schema.KeyColumn()), func(rows *sql.Rows) error {
		row, err := reader.scan(rows)
		if err != nil {
			return err
		}
		return fn(shardapi.CopyItem{Row: row})
	})
	if err == nil {
		err = n.each(ctx, "SELECT batch, seq, at, ops, notable FROM _results WHERE at > ? ORDER BY at, batch", func(rows *sql.Rows) error {
			kept, err := state.ReadResults(&s.spec, rows)
			if err != nil {
				return err
			}
			return fn(shardapi.CopyItem{Results: &kept})
		}, state.OutOfDate(n.head.Clock, shardlog.ResultsKept))
	}
	if err == nil {
		err = n.each(ctx, "SELECT name, body, at, op, first FROM _keys WHERE at > ? ORDER BY name", func(rows *sql.Rows) error {
			kept, err := state.ReadIdempotency(rows)
			if err != nil {
				return err
			}
			return fn(shardapi.CopyItem{Idempotency: &kept})
		}, state.OutOfDate(n.head.Clock, shardlog.IdempotencyKept))
	}
	if err != nil {
		return fmt.Errorf("copy out shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return nil
}

func (n *snapshot) each(ctx context.Context, query string, fn func(*sql.Rows) error, args ...any) error {
	rows, err := n.tx.QueryContext(context.WithoutCancel(ctx), query, args...)
	if err != nil {
		return err
	}
	return each(ctx, rows, func() error { return fn(rows) })
}

// Close may be called twice.
func (n *snapshot) Close() error {
	err := n.tx.Rollback()
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	n.store.reading.leave()
	if err != nil {
		return fmt.Errorf("close snapshot of shard %s: %w", n.head.Spec.Shard.ID, err)
	}
	return nil
}

type restore struct{ store *Store }

func (r *restore) Add(ctx context.Context, items []shardapi.CopyItem) error {
	s := r.store
	err := s.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var c state.Change
		for i := range items {
			if err := c.Copy(&s.spec, &items[i]); err != nil {
				return err
			}
		}
		return s.put(ctx, tx, &c)
	})
	if err != nil {
		return fmt.Errorf("copy into shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return nil
}

func (r *restore) Finish(ctx context.Context) error {
	err := r.store.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE _replica SET copying = 0")
		return err
	})
	if err != nil {
		return fmt.Errorf("finish copy of shard %s: %w", r.store.spec.Shard.ID, classify(err))
	}
	return nil
}
