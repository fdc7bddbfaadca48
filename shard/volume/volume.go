// Package volume is a shard server's data directory: its lock, and the engine
// whose data is in it.
//
// One process at a time has a volume. A successor waits for it, as its
// predecessor may still be stopping. A volume that holds one engine's data
// stays with that engine.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ringway/internal/statedir"
	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/sqlite"
	"ringway/shard/storage"
)

// Engines.
const (
	Auto   = "auto" // MySQL or MariaDB where there is a server program, else SQLite
	MySQL  = "mysql"
	SQLite = "sqlite"
)

// Database is the name of ours in a server.
const Database = "ringway"

// Config says where the volume is, and what is wanted in it.
type Config struct {
	Dir      string
	Engine   string        // Auto, MySQL or SQLite
	DSN      string        // of a server that somebody else runs; empty: one of our own
	Patience time.Duration // for the volume or the server, before a failure is reported and the wait begins anew
}

// DefaultConfig reports soon why there is nothing yet.
func DefaultConfig(dir string) Config {
	return Config{Dir: dir, Engine: Auto, Patience: 10 * time.Second}
}

// Volume opens the engine of a directory.
type Volume struct {
	cfg Config
	log *slog.Logger

	lock   *os.File
	server *running // kept over failures to open: it may need long to recover
}

// New touches nothing.
func New(cfg Config, log *slog.Logger) *Volume { return &Volume{cfg: cfg, log: log} }

// Open is a shard.Opener. One call at a time; after an error the next goes on
// where it was.
func (v *Volume) Open(ctx context.Context) (storage.Engine, string, error) {
	if v.lock == nil {
		if err := os.MkdirAll(v.cfg.Dir, 0o700); err != nil {
			return nil, "", fmt.Errorf("volume: %w", err)
		}
		lock, err := statedir.Take(ctx, v.cfg.Dir, "lock", v.cfg.Patience)
		if err != nil {
			return nil, "", fmt.Errorf("volume: %w", err)
		}
		v.lock = lock
	}
	engine, name, err := v.choose(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("volume %s: %w", v.cfg.Dir, err)
	}
	return engine, name, nil
}

// Close ends the server, if it is ours, and gives up the volume. Close the
// engine first.
func (v *Volume) Close() error {
	var err error
	if v.server != nil {
		err = v.server.stop()
		v.server = nil
	}
	if v.lock != nil {
		err = errors.Join(err, v.lock.Close())
		v.lock = nil
	}
	return err
}

func (v *Volume) choose(ctx context.Context) (storage.Engine, string, error) {
	if v.cfg.DSN != "" {
		return v.openForeign(ctx)
	}
	kind, why, err := v.kind(ctx)
	if err != nil {
		return nil, "", err
	}
	v.log.Info("engine chosen", "engine", kind, "reason", why)
	if kind == SQLite {
		engine, err := sqlite.Open(filepath.Join(v.cfg.Dir, SQLite))
		if err != nil {
			return nil, "", err
		}
		return engine, sqlite.Version(), nil
	}
	if v.server == nil {
		if v.server, err = v.start(ctx); err != nil {
			return nil, "", err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, v.cfg.Patience)
	defer cancel()
	if err := v.server.ready(waiting); err != nil {
		if v.server.ended.Err() != nil {
			err = errors.Join(v.server.stop(), err)
			v.server = nil // begin anew
		}
		return nil, "", err
	}
	cfg := mysql.DefaultConfig()
	cfg.DSN = v.server.supervisor.DSN(Database)
	engine, err := mysql.Open(ctx, cfg)
	if err != nil {
		return nil, "", err
	}
	return engine, v.server.name, nil
}

// kind decides between the engines: what is there already, then what is wanted,
// then what can be had.
func (v *Volume) kind(ctx context.Context) (kind, why string, err error) {
	there, err := v.there()
	if err != nil {
		return "", "", err
	}
	kept, err := v.readTie()
	switch {
	case err != nil:
		return "", "", err
	case kept != nil && kept.Made:
		return "", "", errors.New("its data is in a database of another server; give its --dsn, or use another directory")
	case len(there) > 1:
		return "", "", errors.New("it holds the data of two engines; remove one of them")
	case len(there) == 1 && v.cfg.Engine != Auto && v.cfg.Engine != "" && v.cfg.Engine != there[0]:
		return "", "", fmt.Errorf("it holds the data of %s, and %s is wanted; use another directory", there[0], v.cfg.Engine)
	case len(there) == 1:
		return there[0], "its data is here", nil
	case v.cfg.Engine != Auto && v.cfg.Engine != "":
		return v.cfg.Engine, "wanted", nil
	}
	found, err := mysqld.Find(ctx)
	if errors.Is(err, mysqld.ErrNoServer) {
		return SQLite, err.Error(), nil
	}
	return MySQL, "found " + found.String(), err
}

// there lists the engines whose data is in the directory.
func (v *Volume) there() (kinds []string, err error) {
	for _, kind := range []string{MySQL, SQLite} {
		if entries, err := os.ReadDir(filepath.Join(v.cfg.Dir, kind)); err == nil && len(entries) > 0 {
			kinds = append(kinds, kind)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return kinds, nil
}
