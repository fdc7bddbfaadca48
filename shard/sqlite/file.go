package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/shard/sqlstore"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// readers is how many read one replica at once: some beside those that take long.
const readers = storage.LongReads + 2

// file is one replica's file, open.
type file struct {
	path  string
	write *sql.DB // one connection
	read  *sql.DB
}

// open opens a file as SQLite's URI has it.
func open(path string, options url.Values) (*sql.DB, error) {
	options["_pragma"] = append(options["_pragma"], "busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "trusted_schema(OFF)")
	uri := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	return sql.Open("sqlite", uri.String())
}

// openFile opens a replica for use, after make has made it, if it is new.
func openFile(ctx context.Context, path string, make func(context.Context, *file) error) (*file, error) {
	write, err := open(path, url.Values{"_txlock": {"immediate"}})
	if err != nil {
		return nil, err
	}
	read, err := open(path, url.Values{"_pragma": {"query_only(ON)"}})
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	f := &file{path: path, write: write, read: read}
	f.write.SetMaxOpenConns(1)
	f.read.SetMaxOpenConns(readers)
	if make != nil {
		if err := make(ctx, f); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

// make makes the tables, in one transaction. Names that begin with '_' are
// none that a table or column can have.
func (f *file) make(ctx context.Context, head shardapi.CopyHead) error {
	spec, err := json.Marshal(head.Spec)
	if err != nil {
		return err
	}
	var rows strings.Builder
	rows.WriteString("CREATE TABLE _rows (" + dialect.Name(head.Spec.Schema.KeyColumn()) + " INTEGER PRIMARY KEY NOT NULL")
	for _, c := range head.Spec.Schema.Columns[1:] {
		rows.WriteString(", " + dialect.Name(c) + " TEXT NOT NULL") // numbers too: SQLite's own are not exact
	}
	rows.WriteString(", " + dialect.Name(state.KindsColumn) + " TEXT NOT NULL)")
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		rows.String(),
		"CREATE TABLE _results (at INTEGER NOT NULL, batch TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, ops INTEGER NOT NULL, notable BLOB NOT NULL, PRIMARY KEY (at, batch)) WITHOUT ROWID",
		"CREATE TABLE _keys (name TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL, at INTEGER NOT NULL, op TEXT NOT NULL, first BLOB NOT NULL) WITHOUT ROWID",
		"CREATE INDEX _keys_at ON _keys (at)",
		"CREATE TABLE _replica (spec BLOB NOT NULL, incarnation TEXT NOT NULL, seq INTEGER NOT NULL, batch TEXT NOT NULL, clock INTEGER NOT NULL, copying INTEGER NOT NULL)",
	} {
		if err == nil {
			_, err = tx.ExecContext(ctx, statement)
		}
	}
	if err == nil {
		p := head.Position
		_, err = tx.ExecContext(ctx, "INSERT INTO _replica VALUES (?, ?, ?, ?, ?, 1)", spec, p.Incarnation, int64(p.Seq), p.Batch, state.Nanos(head.Clock))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

const selectHeld = "SELECT spec, incarnation, seq, batch, copying FROM _replica"

func (f *file) held(ctx context.Context) (storage.Held, error) {
	return sqlstore.ReadHeld(f.read.QueryRowContext(ctx, selectHeld))
}

// peek reads what a file is of, before its schema is known. A file without
// tables was given up while it was made.
func peek(ctx context.Context, path string) (storage.Held, error) {
	db, err := open(path, url.Values{})
	if err != nil {
		return storage.Held{}, err
	}
	defer db.Close()
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = '_replica'").Scan(&n); err != nil {
		return storage.Held{}, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if n == 0 {
		return storage.Held{}, events.ErrNotFound
	}
	h, err := sqlstore.ReadHeld(db.QueryRowContext(ctx, selectHeld))
	if err != nil {
		return h, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return h, nil
}

func (f *file) close() error { return errors.Join(f.read.Close(), f.write.Close()) }

// sync makes durable what was committed before: SQLite syncs what it moves
// from the write-ahead file into the file itself, so only the former may hold
// what the kernel has not written. (The file itself must not be opened here:
// closing it would drop SQLite's locks on it.)
func (f *file) sync() error {
	for _, path := range []string{f.path + "-wal", filepath.Dir(f.path)} {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		err = file.Sync()
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}
