package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// rowReader reads one row after another into the same memory.
type rowReader struct {
	schema *events.Schema
	key    int64
	raw    []sql.RawBytes // the columns after the key, then the kinds
	texts  []string
	into   []any
}

func (s *Store) newRowReader(before ...any) *rowReader {
	n := len(s.spec.Schema.Columns)
	r := &rowReader{schema: &s.spec.Schema, raw: make([]sql.RawBytes, n), texts: make([]string, n-1)}
	r.into = append(before, &r.key)
	for i := range r.raw {
		r.into = append(r.into, &r.raw[i])
	}
	return r
}

func (r *rowReader) scan(rows *sql.Rows) (rowjson.Row, error) {
	if err := rows.Scan(r.into...); err != nil {
		return nil, err
	}
	last := len(r.raw) - 1
	for i, raw := range r.raw[:last] {
		r.texts[i] = string(raw)
	}
	return state.ReadRow(r.schema, r.key, r.texts, string(r.raw[last]))
}

// Many implements storage.Store.
func (s *Store) Many(ctx context.Context, keys []int64, fn func(rowjson.Row) error) (uint64, error) {
	if len(keys) == 0 || len(keys) > storage.MaxKeys {
		return 0, fmt.Errorf("read %d keys of shard %s: want 1 to %d", len(keys), s.spec.Shard.ID, storage.MaxKeys)
	}
	list, args := s.dialect.Keys(keys)
	seq, err := s.readWhere(ctx, " IN "+list, args, func(row rowjson.Row, _ uint64) error { return fn(row) })
	if err != nil {
		return seq, fmt.Errorf("read %d keys of shard %s: %w", len(keys), s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return seq, nil
}

// Range implements storage.Store.
func (s *Store) Range(ctx context.Context, low, high int64, fn func(rowjson.Row, uint64) error) (uint64, error) {
	seq, err := s.readWhere(ctx, " BETWEEN ? AND ?", []any{low, high}, fn)
	if err != nil {
		return seq, fmt.Errorf("range %d to %d of shard %s: %w", low, high, s.spec.Shard.ID, s.dialect.Classify(err))
	}
	return seq, nil
}

// readWhere reads the rows whose key meets a condition, by key. Where there are
// none, nothing has the position; the query for it may find that there are
// some by then.
func (s *Store) readWhere(ctx context.Context, condition string, args []any, fn func(rowjson.Row, uint64) error) (uint64, error) {
	db, done, err := s.reading(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	for {
		seq, found, err := s.read(ctx, db, s.rows+condition+" ORDER BY "+s.key, args, fn)
		if err != nil || found {
			return seq, err
		}
		var some bool
		err = db.QueryRowContext(s.dialect.running(ctx), fmt.Sprintf(s.none, condition), args...).Scan(&seq, &some)
		if errors.Is(err, sql.ErrNoRows) {
			err = events.ErrNotFound // the replica itself
		}
		if err != nil || !some {
			return seq, err
		}
	}
}

// read runs one query, which sees rows and position at one moment. It reports
// whether there was an answer.
func (s *Store) read(ctx context.Context, db queryer, query string, args []any, fn func(rowjson.Row, uint64) error) (seq uint64, found bool, err error) {
	reader := s.newRowReader(&seq)
	err = s.each(ctx, db, query, args, func(rows *sql.Rows) error {
		found = true
		row, err := reader.scan(rows)
		if err != nil {
			return err
		}
		return fn(row, seq)
	})
	return seq, found, err
}

// queryer is a pool or a connection.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// reading is what to read from until done. Where a statement must not be cancelled,
// the wait for a connection may be.
func (s *Store) reading(ctx context.Context) (db queryer, done func(), err error) {
	if !s.dialect.Uncancelled {
		return s.reads, func() {}, nil
	}
	conn, err := s.reads.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { _ = conn.Close() }, nil // which gives it back
}

// each runs a query and calls fn for every row, until ctx ends.
func (s *Store) each(ctx context.Context, db queryer, query string, args []any, fn func(*sql.Rows) error) error {
	running, stop := s.dialect.running(ctx), func() {}
	if !s.dialect.Uncancelled {
		running, stop = context.WithCancel(ctx)
		defer stop()
	}
	rows, err := db.QueryContext(running, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // if fn panics: nobody could end the connection
	for rows.Next() {
		if err = fn(rows); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			stop()           // before Close, which would read all that is left
			_ = rows.Close() // fails because of stop
			return err
		}
	}
	err = rows.Err()
	if closed := rows.Close(); err == nil {
		err = closed
	}
	return err
}
