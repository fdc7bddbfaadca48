package volume_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/internal/statedir"
	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/volume"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

func open(t *testing.T, dir, engine string) (*volume.Volume, string, error) {
	t.Helper()
	cfg := volume.DefaultConfig(dir)
	cfg.Engine = engine
	v := volume.New(cfg, testkit.Quiet)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var name string
	var err error
	for range 10 { // a server that is slow to start is no failure
		e, called, failed := v.Open(ctx)
		if name, err = called, failed; err == nil {
			t.Cleanup(func() { _ = e.Close(); _ = v.Close() })
			break
		}
		if !strings.Contains(err.Error(), "wait for") {
			_ = v.Close()
			break
		}
	}
	return v, name, err
}

func TestOpen_AutoTakesAServerWhereThereIsOne(t *testing.T) {
	found := mysqldtest.Find(t)
	dir := t.TempDir()
	v, name, err := open(t, dir, volume.Auto)
	if err != nil || name != found.String() {
		t.Fatalf("%q, %v; want %s", name, err, found)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := open(t, dir, volume.SQLite); err == nil || !strings.Contains(err.Error(), "holds the data of mysql") {
		t.Errorf("with its data: %v", err)
	}
	if _, name, err := open(t, dir, volume.Auto); err != nil || name != found.String() {
		t.Errorf("again: %q, %v", name, err)
	}
}

func TestOpen_StaysWithItsEngine(t *testing.T) {
	dir := t.TempDir()
	v, name, err := open(t, dir, volume.SQLite)
	if err != nil || !strings.HasPrefix(name, "SQLite 3.") {
		t.Fatal(name, err)
	}
	_ = v.Close()
	if err := os.WriteFile(filepath.Join(dir, "sqlite", "StudT.sh1.sqlite"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, name, err = open(t, dir, volume.Auto); err != nil || !strings.HasPrefix(name, "SQLite 3.") {
		t.Errorf("auto: %q, %v", name, err)
	}
	_ = v.Close()
	if _, _, err := open(t, dir, volume.MySQL); err == nil || !strings.Contains(err.Error(), "holds the data of sqlite") {
		t.Errorf("mysql: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "mysql", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := open(t, dir, volume.Auto); err == nil || !strings.Contains(err.Error(), "two engines") {
		t.Errorf("both: %v", err)
	}
}

func TestOpen_OneAtATimeHasAVolume(t *testing.T) {
	dir := t.TempDir()
	v, _, err := open(t, dir, volume.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	cfg := volume.DefaultConfig(dir)
	cfg.Engine, cfg.Patience = volume.SQLite, 100*time.Millisecond
	second := volume.New(cfg, testkit.Quiet)
	if _, _, err := second.Open(t.Context()); !errors.Is(err, statedir.ErrInUse) {
		t.Fatalf("a second one: %v", err)
	}
	cfg.Patience = time.Minute
	second = volume.New(cfg, testkit.Quiet)
	got := make(chan error)
	go func() {
		e, _, err := second.Open(t.Context())
		if err == nil {
			err = errors.Join(e.Close(), second.Close())
		}
		got <- err
	}()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Errorf("after the first: %v", err)
	}
}
