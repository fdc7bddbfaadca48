// Package mysql keeps replicas of shards in MySQL or MariaDB, of which each
// is a table that people can read.
//
// Package sqlstore has how; here are connections, tables and faults. The server
// need not sync at a commit: DurableThrough finds out what it has synced, the log
// has the rest.
package mysql

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
	"ringway/events/shardapi"
	"ringway/shard/sqlstore"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// Config says where the server is.
type Config struct {
	DSN         string        // of go-sql-driver, with a database, which is created: root@unix(/run/x.sock)/ringway
	Connections int           // most at once, for all replicas together: 2 or more
	LockWait    time.Duration // for another transaction's lock, before a retry
	IO          time.Duration // for the server's next answer
	Owner       *Owner        // who shall have the database; nil: nobody else reaches the server
}

// DefaultConfig suits a server that is ours alone.
func DefaultConfig() Config {
	return Config{Connections: 24, LockWait: 10 * time.Second, IO: 2 * time.Minute}
}

// Engine is a database with replicas in it.
type Engine struct {
	db      *sql.DB
	writers *writers
	mu      sync.Mutex // one change of tables at a time
}

var _ storage.Engine = (*Engine)(nil)

// Open connects and makes what is missing in the database. It does not wait
// for a server that is away: the error is then storage.ErrRetry.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	db, writers, err := connect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open mysql: %w", err)
	}
	e := &Engine{db: db, writers: writers}
	if _, err := db.ExecContext(ctx, createCatalogue); err != nil {
		return nil, errors.Join(fmt.Errorf("open mysql: %w", classify(err)), e.Close())
	}
	return e, nil
}

// Create implements storage.Engine.
func (e *Engine) Create(ctx context.Context, spec events.ShardSpec, incarnation string) (storage.Store, error) {
	head := shardapi.CopyHead{Spec: spec, Position: events.Position{Incarnation: incarnation}}
	if err := e.begin(ctx, head, false); err != nil {
		return nil, fmt.Errorf("create shard %s: %w", spec.Shard.ID, classify(err))
	}
	return e.store(spec), nil
}

// Restore implements storage.Engine.
func (e *Engine) Restore(ctx context.Context, head shardapi.CopyHead) (storage.Restore, error) {
	if err := e.begin(ctx, head, true); err != nil {
		return nil, fmt.Errorf("restore shard %s: %w", head.Spec.Shard.ID, classify(err))
	}
	return sqlstore.Restore{Store: e.store(head.Spec).Store}, nil
}

// begin makes the tables of a replica, without rows. Tables cannot be made in
// a transaction: until the last statement the catalogue says that the replica
// is incomplete, and the next begin starts anew.
func (e *Engine) begin(ctx context.Context, head shardapi.CopyHead, copying bool) error {
	if err := head.Spec.Validate(); err != nil {
		return err
	}
	spec, err := json.Marshal(head.Spec)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	name := tableName(head.Spec.Table, head.Spec.Shard.ID)
	if held, err := e.held(ctx, name); err == nil && !held.Copying {
		return storage.ErrExists
	} else if err != nil && !errors.Is(err, events.ErrNotFound) {
		return err
	}
	p := head.Position
	if _, err := e.db.ExecContext(ctx, putCatalogue, name, head.Spec.Table, head.Spec.Shard.ID, spec, p.Incarnation, p.Seq, p.Batch, state.Nanos(head.Clock)); err != nil {
		return err
	}
	for _, statement := range append(dropTables(name), createTables(name, &head.Spec.Schema)...) {
		if _, err := e.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if copying {
		return nil
	}
	_, err = e.db.ExecContext(ctx, markComplete, name)
	return err
}

// Open implements storage.Engine.
func (e *Engine) Open(ctx context.Context, table, id string) (storage.Store, error) {
	held, err := e.held(ctx, tableName(table, id))
	if err == nil && held.Copying {
		err = storage.ErrCopying
	}
	if err != nil {
		return nil, fmt.Errorf("open shard %s: %w", id, classify(err))
	}
	return e.store(held.Spec), nil
}

// List implements storage.Engine.
func (e *Engine) List(ctx context.Context) ([]storage.Held, error) {
	all, err := e.query(ctx, listCatalogue)
	if err != nil {
		return nil, fmt.Errorf("list shards: %w", classify(err))
	}
	return all, nil
}

func (e *Engine) held(ctx context.Context, name string) (storage.Held, error) {
	all, err := e.query(ctx, findCatalogue, name)
	if err != nil {
		return storage.Held{}, err
	}
	if len(all) == 0 {
		return storage.Held{}, events.ErrNotFound
	}
	return all[0], nil
}

func (e *Engine) query(ctx context.Context, statement string, args ...any) ([]storage.Held, error) {
	rows, err := e.db.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []storage.Held
	for rows.Next() {
		h, err := sqlstore.ReadHeld(rows)
		if err != nil {
			return nil, fmt.Errorf("catalogue of replicas: %w", err)
		}
		all = append(all, h)
	}
	return all, rows.Err()
}

// Drop implements storage.Engine.
func (e *Engine) Drop(ctx context.Context, table, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := tableName(table, id)
	statements := dropTables(name)
	_, err := e.db.ExecContext(ctx, markCopying, name) // half dropped is not complete
	for i := 0; err == nil && i < len(statements); i++ {
		_, err = e.db.ExecContext(ctx, statements[i])
	}
	if err == nil {
		_, err = e.db.ExecContext(ctx, deleteCatalogue, name)
	}
	if err != nil {
		return fmt.Errorf("drop shard %s: %w", id, classify(err))
	}
	e.writers.forget(name)
	return nil
}

// Close implements storage.Engine.
func (e *Engine) Close() error { return errors.Join(e.writers.close(), e.db.Close()) }

// Version asks the server what it is.
func (e *Engine) Version(ctx context.Context) (string, error) {
	var version string
	if err := e.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", fmt.Errorf("version: %w", classify(err))
	}
	number, rest, _ := strings.Cut(version, "-")
	if strings.Contains(rest, "MariaDB") {
		return "MariaDB " + number, nil
	}
	return "MySQL " + number, nil
}
