package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// Store is one replica.
type Store struct {
	db      *sql.DB
	writers *writers
	spec    events.ShardSpec
	name    string // of its table
	rows    string // SELECT of rows, with the position: what stands before the condition
	none    string // SELECT of the position, and of whether there are rows
	key     string

	mu     sync.Mutex
	known  events.Position // where Apply left the replica, and
	clock  time.Time       // the clock there; both are zero if not known
	purged time.Time       // clock of the last purge
}

var _ storage.Store = (*Store)(nil)

func newStore(db *sql.DB, writers *writers, spec events.ShardSpec) *Store {
	s := &Store{db: db, writers: writers, spec: spec, name: tableName(spec.Table, spec.Shard.ID)}
	s.key = "r." + quote(spec.Schema.KeyColumn())
	columns, table := columnList(&spec.Schema, "r."), quote(s.name)+" r"
	// Not as a join: sorting one takes a temporary table.
	s.rows = "SELECT (SELECT seq FROM ringway_replicas WHERE name = ?), " + columns + " FROM " + table + " WHERE " + s.key
	s.none = "SELECT p.seq, EXISTS (SELECT 1 FROM " + table + " WHERE " + s.key + "%s) FROM ringway_replicas p WHERE p.name = ?"
	return s
}

// Spec implements storage.Store.
func (s *Store) Spec() events.ShardSpec { return s.spec }

// Position implements storage.Store.
func (s *Store) Position(ctx context.Context) (events.Position, error) {
	p, _, err := s.position(ctx)
	if err != nil {
		return events.Position{}, fmt.Errorf("position of shard %s: %w", s.spec.Shard.ID, classify(err))
	}
	return p, nil
}

func (s *Store) position(ctx context.Context) (events.Position, time.Time, error) {
	return scanPosition(s.db.QueryRowContext(ctx, readPosition, s.name))
}

func scanPosition(row *sql.Row) (p events.Position, clock time.Time, err error) {
	var at int64
	err = row.Scan(&p.Incarnation, &p.Seq, &p.Batch, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = events.ErrNotFound
	}
	return p, state.FromNanos(at), err
}

// Rebase implements storage.Store.
func (s *Store) Rebase(ctx context.Context, from, to events.Position) error {
	s.forget()
	err := mustMove(s.db.ExecContext(ctx, rebasePosition, to.Incarnation, to.Seq, to.Batch, s.name, from.Incarnation, from.Seq, from.Batch))
	if err != nil {
		return fmt.Errorf("rebase shard %s from %s to %s: %w", s.spec.Shard.ID, from, to, classify(err))
	}
	return nil
}

// mustMove demands that a compare-and-set found its row.
func mustMove(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(storage.ErrFenced, err)
	}
	return nil
}

// forget makes the next Apply read what it would have remembered.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.clock = events.Position{}, time.Time{}
}

// Results implements storage.Store.
func (s *Store) Results(ctx context.Context, batch string) (shardlog.Results, error) {
	var clock int64
	kept, err := state.ReadResults(&s.spec, s.db.QueryRowContext(ctx, "SELECT k.batch, k.seq, k.at, k.ops, k.notable, p.clock FROM "+
		quote(resultsTable(s.name))+" k JOIN ringway_replicas p ON p.name = ? WHERE k.batch = ?", s.name, batch), &clock)
	if errors.Is(err, sql.ErrNoRows) || err == nil && state.FromNanos(clock).Sub(kept.At) >= shardlog.ResultsKept {
		err = events.ErrNotFound
	}
	if err != nil {
		return shardlog.Results{}, fmt.Errorf("results of batch %.80q on shard %s: %w", batch, s.spec.Shard.ID, classify(err))
	}
	return kept.Results, nil
}
