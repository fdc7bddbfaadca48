package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

type snapshot struct {
	store *Store
	conn  *sql.Conn
	head  shardapi.CopyHead
}

// Snapshot implements storage.Store.
func (s *Store) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	snap := &snapshot{store: s, conn: conn, head: shardapi.CopyHead{Spec: s.spec}}
	_, err = conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	if err == nil {
		snap.head.Position, snap.head.Clock, err = scanPosition(conn.QueryRowContext(ctx, readPosition, s.name))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, classify(err)), snap.Close())
	}
	return snap, nil
}

func (n *snapshot) Head() shardapi.CopyHead { return n.head }

func (n *snapshot) Items(ctx context.Context, fn func(shardapi.CopyItem) error) error {
	s := n.store
	reader := s.newRowReader()
	err := n.each(ctx, "SELECT "+columnList(&s.spec.Schema, "")+" FROM "+quote(s.name)+" ORDER BY "+quote(s.spec.Schema.KeyColumn()), func(rows *sql.Rows) error {
		row, err := reader.scan(rows)
		if err != nil {
			return err
		}
		return fn(shardapi.CopyItem{Row: row})
	})
	if err == nil {
		err = n.each(ctx, "SELECT batch, seq, at, ops, notable FROM "+quote(resultsTable(s.name))+" WHERE at > ? ORDER BY at, batch", func(rows *sql.Rows) error {
			kept, err := state.ReadResults(&s.spec, rows)
			if err != nil {
				return err
			}
			return fn(shardapi.CopyItem{Results: &kept})
		}, state.OutOfDate(n.head.Clock, shardlog.ResultsKept))
	}
	if err == nil {
		err = n.each(ctx, "SELECT name, body, at, op, first FROM "+quote(keysTable(s.name))+" WHERE at > ? ORDER BY name", func(rows *sql.Rows) error {
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := n.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return each(rows, cancel, func() error { return fn(rows) })
}

// Close may be called twice.
func (n *snapshot) Close() error {
	if err := release(context.Background(), n.conn); err != nil && !errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("close snapshot of shard %s: %w", n.head.Spec.Shard.ID, err)
	}
	return nil
}

type restore struct{ store *Store }

func (r *restore) Add(ctx context.Context, items []shardapi.CopyItem) error {
	s := r.store
	err := s.inTransaction(ctx, func(t *transaction) error {
		var c state.Change
		for i := range items {
			if err := c.Copy(&s.spec, &items[i]); err != nil {
				return err
			}
		}
		return t.write(&c)
	})
	if err != nil {
		return fmt.Errorf("copy into shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return nil
}

func (r *restore) Finish(ctx context.Context) error {
	if _, err := r.store.db.ExecContext(ctx, markComplete, r.store.name); err != nil {
		return fmt.Errorf("finish copy of shard %s: %w", r.store.spec.Shard.ID, classify(err))
	}
	return nil
}
