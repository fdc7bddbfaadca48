// Package sqlstore keeps replicas of shards in the tables of a SQL database. What
// one database has of its own is in a Dialect.
//
// A transaction of Apply moves the position first, by compare-and-set: that holds
// the replica's row until the commit, so that a second applier waits, then finds
// itself fenced. What clients wrote travels as parameters of statements; names are
// validated by the contract and quoted.
package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// Dialect is what a database has of its own.
type Dialect struct {
	Quote       string                         // stands around names, and twice for one of itself in them
	Begin       string                         // begins a transaction that writes; empty: its first statement does
	Snapshot    string                         // begins a transaction that reads, all at one moment
	Uncancelled bool                           // statements run to their end though their context ends: cancelling one loses the connection
	Overwrite   string                         // what ends an INSERT that replaces rows which are there, but for
	NewValue    string                         // the format of each column's part in that, with its name
	Keys        func([]int64) (string, []any)  // a list for IN
	Purge       func(table, key string) string // deletes the oldest rows of a table, up to a time and a number
	MaxMarks    int                            // parameters of one statement
	Duplicate   func(error) bool               // a key was there
	Classify    func(error) error              // marks what is worth another try
}

// Name is a name, quoted.
func (d *Dialect) Name(name string) string {
	return d.Quote + strings.ReplaceAll(name, d.Quote, d.Quote+d.Quote) + d.Quote
}

// running is the context of a statement.
func (d *Dialect) running(ctx context.Context) context.Context {
	if d.Uncancelled {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Place is where a replica lies: tables, quoted.
type Place struct {
	Rows, Results, Keys string
	Catalogue           string // has one row for the replica
	Here                string // the condition that finds it
}

// whereAt finds the replica's row if it is at a position.
func (p *Place) whereAt() string {
	return "WHERE " + p.Here + " AND incarnation = ? AND seq = ? AND batch = ? AND copying = 0"
}

// Taker waits for a connection for one transaction, until release, which says
// whether the connection was lost.
type Taker func(ctx context.Context) (conn *sql.Conn, release func(lost bool), err error)

// Store is one replica. It implements all of storage.Store but DurableThrough.
type Store struct {
	dialect *Dialect
	reads   *sql.DB
	take    Taker
	spec    events.ShardSpec
	at      Place
	rows    string // SELECT of rows, with the position: what stands before the condition
	none    string // SELECT of the position, and of whether there are rows
	key     string

	mu     sync.Mutex
	known  events.Position // where Apply left the replica, and
	clock  time.Time       // the clock there; both are zero if not known
	purged time.Time       // clock of the last purge
}

// New reads nothing.
func New(dialect *Dialect, reads *sql.DB, take Taker, spec events.ShardSpec, at Place) *Store {
	s := &Store{dialect: dialect, reads: reads, take: take, spec: spec, at: at}
	s.key = "r." + dialect.Name(spec.Schema.KeyColumn())
	// Not as a join: sorting one takes a temporary table.
	s.rows = "SELECT (SELECT seq FROM " + at.Catalogue + " WHERE " + at.Here + "), " + s.columns("r.") + " FROM " + at.Rows + " r WHERE " + s.key
	s.none = "SELECT seq, EXISTS (SELECT 1 FROM " + at.Rows + " r WHERE " + s.key + "%s) FROM " + at.Catalogue + " WHERE " + at.Here
	return s
}

// columns are those of the rows' table, with a prefix.
func (s *Store) columns(prefix string) string {
	var list strings.Builder
	for _, c := range s.spec.Schema.Columns {
		list.WriteString(prefix + s.dialect.Name(c) + ", ")
	}
	return list.String() + prefix + s.dialect.Name(state.KindsColumn)
}

// Spec implements storage.Store.
func (s *Store) Spec() events.ShardSpec { return s.spec }

// Position implements storage.Store.
func (s *Store) Position(ctx context.Context) (events.Position, error) {
	p, _, err := s.position(ctx)
	if err != nil {
		return events.Position{}, fmt.Errorf("position of shard %s: %w", s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return p, nil
}

func (s *Store) position(ctx context.Context) (p events.Position, clock time.Time, err error) {
	db, done, err := s.reading(ctx)
	if err != nil {
		return p, clock, err
	}
	defer done()
	return s.readPosition(s.dialect.running(ctx), db)
}

func (s *Store) readPosition(ctx context.Context, db queryer) (p events.Position, clock time.Time, err error) {
	var at int64
	err = db.QueryRowContext(ctx, "SELECT incarnation, seq, batch, clock FROM "+s.at.Catalogue+" WHERE "+s.at.Here+" AND copying = 0").
		Scan(&p.Incarnation, &p.Seq, &p.Batch, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = events.ErrNotFound
	}
	return p, state.FromNanos(at), err
}

// Rebase implements storage.Store.
func (s *Store) Rebase(ctx context.Context, from, to events.Position) error {
	s.forget()
	err := s.inTransaction(ctx, func(t *transaction) error {
		return mustMove(t.exec("UPDATE "+s.at.Catalogue+" SET incarnation = ?, seq = ?, batch = ? "+s.at.whereAt(),
			to.Incarnation, int64(to.Seq), to.Batch, from.Incarnation, int64(from.Seq), from.Batch))
	})
	if err != nil {
		return fmt.Errorf("rebase shard %s from %s to %s: %w", s.spec.Shard.ID, from, to, s.dialect.Classify(err))
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
	kept, err := s.keptResults(ctx, batch)
	if err != nil {
		return shardlog.Results{}, fmt.Errorf("results of batch %.80q on shard %s: %w", batch, s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return kept.Results, nil
}

func (s *Store) keptResults(ctx context.Context, batch string) (kept shardlog.KeptResults, err error) {
	db, done, err := s.reading(ctx)
	if err != nil {
		return kept, err
	}
	defer done()
	var clock int64
	kept, err = state.ReadResults(&s.spec, db.QueryRowContext(s.dialect.running(ctx), "SELECT k.batch, k.seq, k.at, k.ops, k.notable, p.clock FROM "+
		s.at.Results+" k JOIN "+s.at.Catalogue+" p ON "+s.at.Here+" WHERE k.batch = ?", batch), &clock)
	if errors.Is(err, sql.ErrNoRows) || err == nil && state.FromNanos(clock).Sub(kept.At) >= shardlog.ResultsKept {
		err = events.ErrNotFound
	}
	return kept, err
}

// ReadHeld reads the columns spec, incarnation, seq, batch and copying of a catalogue.
func ReadHeld(row state.Columns) (storage.Held, error) {
	var h storage.Held
	var spec []byte
	if err := row.Scan(&spec, &h.Position.Incarnation, &h.Position.Seq, &h.Position.Batch, &h.Copying); err != nil {
		return h, err
	}
	if err := json.Unmarshal(spec, &h.Spec); err != nil {
		return h, fmt.Errorf("what the replica is of: %w", err)
	}
	return h, h.Spec.Validate()
}
