package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/shard/sqlstore"
	"ringway/shard/storage"
)

// Engine is a directory with replicas in it.
type Engine struct {
	dir string

	mu    sync.Mutex
	files map[string]*file // that are open, by name
}

var _ storage.Engine = (*Engine)(nil)

// Open makes the directory if it is not there.
func Open(dir string) (*Engine, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	return &Engine{dir: dir, files: map[string]*file{}}, nil
}

// suffix of the files. Identifiers have no dot, so that names are unambiguous.
const suffix = ".sqlite"

func fileName(table, id string) string { return table + "." + id + suffix }

// Create implements storage.Engine.
func (e *Engine) Create(ctx context.Context, spec events.ShardSpec, incarnation string) (storage.Store, error) {
	ctx = context.WithoutCancel(ctx) // see dialect
	f, err := e.begin(ctx, shardapi.CopyHead{Spec: spec, Position: events.Position{Incarnation: incarnation}})
	if err == nil {
		_, err = f.write.ExecContext(ctx, "UPDATE _replica SET copying = 0")
	}
	if err != nil {
		return nil, fmt.Errorf("create shard %s: %w", spec.Shard.ID, classify(err))
	}
	return f.store(spec), nil
}

// Restore implements storage.Engine.
func (e *Engine) Restore(ctx context.Context, head shardapi.CopyHead) (storage.Restore, error) {
	f, err := e.begin(context.WithoutCancel(ctx), head) // see dialect
	if err != nil {
		return nil, fmt.Errorf("restore shard %s: %w", head.Spec.Shard.ID, classify(err))
	}
	return sqlstore.Restore{Store: f.store(head.Spec).Store}, nil
}

// begin makes the file of an incomplete replica.
func (e *Engine) begin(ctx context.Context, head shardapi.CopyHead) (*file, error) {
	if err := head.Spec.Validate(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	name := fileName(head.Spec.Table, head.Spec.Shard.ID)
	switch held, err := e.held(ctx, name); {
	case err == nil && !held.Copying:
		return nil, storage.ErrExists
	case err != nil && !errors.Is(err, events.ErrNotFound):
		return nil, err
	}
	if err := e.remove(name); err != nil {
		return nil, err
	}
	f, err := openFile(ctx, filepath.Join(e.dir, name), func(ctx context.Context, f *file) error { return f.make(ctx, head) })
	if err != nil {
		return nil, err
	}
	e.files[name] = f
	return f, nil
}

// Open implements storage.Engine.
func (e *Engine) Open(ctx context.Context, table, id string) (storage.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := fileName(table, id)
	held, err := e.held(context.WithoutCancel(ctx), name) // see dialect
	if err == nil && held.Copying {
		err = storage.ErrCopying
	}
	if err != nil {
		return nil, fmt.Errorf("open shard %s: %w", id, classify(err))
	}
	return e.files[name].store(held.Spec), nil
}

// List implements storage.Engine.
func (e *Engine) List(ctx context.Context) ([]storage.Held, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	entries, err := os.ReadDir(e.dir) // sorted
	if err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	var all []storage.Held
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), suffix) {
			continue
		}
		switch held, err := e.held(context.WithoutCancel(ctx), entry.Name()); { // see dialect
		case err == nil:
			all = append(all, held)
		case !errors.Is(err, events.ErrNotFound):
			return nil, fmt.Errorf("list shards: %w", classify(err))
		}
	}
	return all, nil
}

// held opens a replica's file, if it is not open, and reads what it is. A file
// that was never made to its end is none.
func (e *Engine) held(ctx context.Context, name string) (storage.Held, error) {
	var h storage.Held
	path := filepath.Join(e.dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return h, events.ErrNotFound
	} else if err != nil {
		return h, err
	}
	f := e.files[name]
	if f == nil {
		var err error
		if h, err = peek(ctx, path); err != nil {
			return h, err
		}
		if f, err = openFile(ctx, path, nil); err != nil {
			return h, err
		}
		e.files[name] = f
	}
	return f.held(ctx)
}

// Drop implements storage.Engine.
func (e *Engine) Drop(_ context.Context, table, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.remove(fileName(table, id)); err != nil {
		return fmt.Errorf("drop shard %s: %w", id, err)
	}
	return nil
}

// remove erases a file and what SQLite keeps beside it, the write-ahead file
// last: without the first nobody would read it.
func (e *Engine) remove(name string) error {
	if f := e.files[name]; f != nil {
		delete(e.files, name)
		if err := f.close(); err != nil {
			return err
		}
	}
	for _, s := range []string{"", "-shm", "-wal"} {
		if err := os.Remove(filepath.Join(e.dir, name+s)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close implements storage.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, f := range e.files {
		errs = append(errs, f.close())
	}
	clear(e.files)
	return errors.Join(errs...)
}
