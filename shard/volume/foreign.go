package volume

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ringway/internal/statedir"
	"ringway/shard/mysql"
	"ringway/shard/storage"
)

// tie is what ties a directory to a database of a server that somebody else
// runs. The other end is in the database: see mysql.Owner.
type tie struct {
	Token string `json:"token"`
	Made  bool   `json:"made"` // the database has the token, too
}

func (v *Volume) tieFile() string { return filepath.Join(v.cfg.Dir, "database") }

// openForeign opens the database of the DSN for this directory alone. The
// directory is ready to be the owner before the database says that it is, so
// one that was taken half is taken by the same.
func (v *Volume) openForeign(ctx context.Context) (storage.Engine, string, error) {
	if v.cfg.Engine == SQLite {
		return nil, "", errors.New("--engine is sqlite, and --dsn is of a MySQL server")
	}
	if there, err := v.there(); err != nil {
		return nil, "", err
	} else if len(there) > 0 {
		return nil, "", fmt.Errorf("it holds the data of %s; use another directory with --dsn", there[0])
	}
	t, err := v.readTie()
	if err != nil {
		return nil, "", err
	}
	if t == nil {
		t = &tie{Token: rand.Text()}
		if err := v.writeTie(t); err != nil {
			return nil, "", err
		}
	}
	cfg := mysql.DefaultConfig()
	cfg.DSN, cfg.Owner = v.cfg.DSN, &mysql.Owner{Token: t.Token, Place: v.place(), Had: t.Made}
	engine, err := mysql.Open(ctx, cfg)
	if err != nil {
		return nil, "", err
	}
	name, err := engine.Version(ctx)
	if err == nil && !t.Made {
		t.Made = true
		err = v.writeTie(t)
	}
	if err != nil {
		return nil, "", errors.Join(err, engine.Close())
	}
	return engine, name, nil
}

// place is where a person finds the directory.
func (v *Volume) place() string {
	dir, err := filepath.Abs(v.cfg.Dir)
	if err != nil {
		dir = v.cfg.Dir
	}
	host, err := os.Hostname()
	if err != nil {
		return dir
	}
	return host + ":" + dir
}

// readTie is nil if there is none.
func (v *Volume) readTie() (*tie, error) {
	b, err := os.ReadFile(v.tieFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // that is the answer
	}
	if err != nil {
		return nil, err
	}
	var t tie
	if err := json.Unmarshal(b, &t); err != nil || t.Token == "" {
		return nil, fmt.Errorf("%s does not tell which database the directory belongs to: %.100q", v.tieFile(), b)
	}
	return &t, nil
}

func (v *Volume) writeTie(t *tie) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return statedir.WriteFile(v.tieFile(), append(b, '\n'))
}
