package mysql

import (
	"context"
	"database/sql"

	"ringway/events"
	"ringway/shard/sqlstore"
	"ringway/shard/storage"
)

// dialect has no Begin: without autocommit the first statement begins a transaction,
// which spares a round trip.
var dialect = sqlstore.Dialect{
	Quote:     "`",
	Snapshot:  "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
	Overwrite: " ON DUPLICATE KEY UPDATE ",
	NewValue:  "%s = VALUES(%[1]s)",
	Keys:      sqlstore.Marks[int64],
	Purge:     func(table, _ string) string { return "DELETE FROM " + table + " WHERE at <= ? ORDER BY at LIMIT ?" },
	MaxMarks:  65_535,
	Duplicate: isDuplicateKey,
	Classify:  classify,
}

// Store is one replica.
type Store struct {
	*sqlstore.Store
	engine *Engine
}

var _ storage.Store = (*Store)(nil)

func (e *Engine) store(spec events.ShardSpec) *Store {
	name := tableName(spec.Table, spec.Shard.ID)
	take := func(ctx context.Context) (*sql.Conn, func(bool), error) { return e.writers.take(ctx, name) }
	return &Store{sqlstore.New(&dialect, e.db, take, spec, sqlstore.Place{
		Rows: dialect.Name(name), Results: dialect.Name(resultsTable(name)), Keys: dialect.Name(keysTable(name)),
		Catalogue: "ringway_replicas", Here: "name = '" + name + "'", // the contract allows no quotes in it
	}), e}
}
