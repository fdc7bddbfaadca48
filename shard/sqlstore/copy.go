package sqlstore

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
	conn, err := s.reads.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err))
	}
	snap := &snapshot{store: s, conn: conn, head: shardapi.CopyHead{Spec: s.spec}}
	running := s.dialect.running(ctx)
	_, err = conn.ExecContext(running, s.dialect.Snapshot)
	if err == nil { // the first read fixes what the rest sees, where the statement has not
		snap.head.Position, snap.head.Clock, err = s.readPosition(running, conn)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err)), snap.Close())
	}
	return snap, nil
}

func (n *snapshot) Head() shardapi.CopyHead { return n.head }

func (n *snapshot) Items(ctx context.Context, fn func(shardapi.CopyItem) error) error {
	s := n.store
	reader := s.newRowReader()
	err := s.each(ctx, n.conn, "SELECT "+s.columns("")+" FROM "+s.at.Rows+" ORDER BY "+s.dialect.Name(s.spec.Schema.KeyColumn()), nil, func(rows *sql.Rows) error {
		row, err := reader.scan(rows)
		if err != nil {
			return err
		}
		return fn(shardapi.CopyItem{Row: row})
	})
	if err == nil {
		after := []any{state.OutOfDate(n.head.Clock, shardlog.ResultsKept)}
		err = s.each(ctx, n.conn, "SELECT batch, seq, at, ops, notable FROM "+s.at.Results+" WHERE at > ? ORDER BY at, batch", after, func(rows *sql.Rows) error {
			kept, err := state.ReadResults(&s.spec, rows)
			if err != nil {
				return err
			}
			return fn(shardapi.CopyItem{Results: &kept})
		})
	}
	if err == nil {
		after := []any{state.OutOfDate(n.head.Clock, shardlog.IdempotencyKept)}
		err = s.each(ctx, n.conn, "SELECT name, body, at, op, first FROM "+s.at.Keys+" WHERE at > ? ORDER BY name", after, func(rows *sql.Rows) error {
			kept, err := state.ReadIdempotency(rows)
			if err != nil {
				return err
			}
			return fn(shardapi.CopyItem{Idempotency: &kept})
		})
	}
	if err != nil {
		return fmt.Errorf("copy out shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return nil
}

// Close may be called twice.
func (n *snapshot) Close() error {
	_ = n.store.rollback(context.Background(), n.conn) // or it is closed already
	if err := n.conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("close snapshot of shard %s: %w", n.head.Spec.Shard.ID, err)
	}
	return nil
}

// Restore fills a Store that is marked as copying.
type Restore struct{ Store *Store }

var _ storage.Restore = Restore{}

// Add implements storage.Restore.
func (r Restore) Add(ctx context.Context, items []shardapi.CopyItem) error {
	s := r.Store
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
		return fmt.Errorf("copy into shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return nil
}

// Finish implements storage.Restore.
func (r Restore) Finish(ctx context.Context) error {
	s := r.Store
	err := s.inTransaction(ctx, func(t *transaction) error {
		_, err := t.exec("UPDATE " + s.at.Catalogue + " SET copying = 0 WHERE " + s.at.Here)
		return err
	})
	if err != nil {
		return fmt.Errorf("finish copy of shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return nil
}
