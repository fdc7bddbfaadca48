package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"ringway/events"
	"ringway/shard/sqlstore"
	"ringway/shard/storage"
)

// dialect has no use for long statements: the driver looks for each parameter among
// all of them.
var dialect = sqlstore.Dialect{
	Quote:       `"`,
	Begin:       "BEGIN IMMEDIATE",
	Snapshot:    "BEGIN",
	Uncancelled: true, // a connection that was given up in a transaction was seen to keep the file locked for good
	Overwrite:   " ON CONFLICT DO UPDATE SET ",
	NewValue:    "%s = excluded.%[1]s",
	Keys:        keyList,
	Purge: func(table, key string) string {
		return "DELETE FROM " + table + " WHERE " + key + " IN (SELECT " + key + " FROM " + table + " WHERE at <= ? ORDER BY at LIMIT ?)"
	},
	MaxMarks:  128,
	Duplicate: isDuplicateKey,
	Classify:  classify,
}

// keyList takes one parameter, however many keys there are.
func keyList(keys []int64) (list string, args []any) {
	b, _ := json.Marshal(keys) // integers can be JSON
	return "(SELECT value FROM json_each(?))", []any{string(b)}
}

// Store is one replica.
type Store struct {
	*sqlstore.Store
	file *file
}

var _ storage.Store = (*Store)(nil)

// store is the replica of a file.
func (f *file) store(spec events.ShardSpec) *Store {
	at := sqlstore.Place{Rows: "_rows", Results: "_results", Keys: "_keys", Catalogue: "_replica", Here: "TRUE"}
	take := func(ctx context.Context) (*sql.Conn, func(bool), error) {
		conn, err := f.write.Conn(ctx)
		return conn, func(bool) { _ = conn.Close() }, err // which gives it back
	}
	return &Store{sqlstore.New(&dialect, f.read, take, spec, at), f}
}

// DurableThrough implements storage.Store.
func (s *Store) DurableThrough(ctx context.Context) (events.Position, error) {
	p, err := s.Position(ctx)
	if err == nil {
		err = s.file.sync()
	}
	if err != nil {
		return events.Position{}, fmt.Errorf("durable position of shard %s: %w", s.Spec().Shard.ID, classify(err))
	}
	return p, nil
}
