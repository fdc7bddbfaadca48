package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/storage"
	"ringway/shard/storetest"
)

// A test that kills an applier needs one in a process of its own: this binary,
// started again with the directory in this variable.
const applierDir = "RINGWAY_TEST_SQLITE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(applierDir); dir != "" {
		if err := applyUntilKilled(dir); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func applyUntilKilled(dir string) error {
	engine, err := Open(dir)
	if err != nil {
		return err
	}
	spec := storetest.Students()
	ctx := context.Background()
	store, err := engine.Open(ctx, spec.Table, spec.Shard.ID)
	if errors.Is(err, events.ErrNotFound) {
		store, err = engine.Create(ctx, spec, storetest.Log)
	}
	if err != nil {
		return err
	}
	return storetest.ApplyLog(ctx, store, func(seq uint64) bool {
		fmt.Println(seq)
		return true
	})
}

func TestStore_AppliesOnceWhenItsProcessIsKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random, dir := rand.New(rand.NewPCG(seed, 0)), t.TempDir()
	line := ""
	for range 8 {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), applierDir+"="+dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for range random.IntN(60) {
			lines.Scan()
			if line = lines.Text(); strings.Contains(line, "error") {
				t.Error(line)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	store := reopened(t, dir)
	seq := storetest.CheckLog(t, store)
	var last uint64
	if _, err := fmt.Sscan(line, &last); err != nil || last > seq {
		t.Errorf("%q was reported, the replica is at %d: %v", line, seq, err)
	}
}

func reopened(t *testing.T, dir string) storage.Store {
	t.Helper()
	engine, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	spec := storetest.Students()
	store, err := engine.Open(t.Context(), spec.Table, spec.Shard.ID)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func created(t *testing.T, dir string) *Store {
	t.Helper()
	engine, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return store.(*Store)
}

func TestStore_SaysRetryWhenTheDiskIsFull(t *testing.T) {
	store := created(t, t.TempDir())
	limit := func(pages int) {
		t.Helper()
		if _, err := store.file.write.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(20)
	entry := storetest.Entry(store.Spec(), 1)
	var rows []rowjson.Row
	for i := range int64(100) {
		rows = append(rows, storetest.Student(i, strings.Repeat("x", 5000), rowjson.Int(i)))
	}
	entry.Batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: rows}}
	from := events.Position{Incarnation: storetest.Log}
	if _, err := store.Apply(t.Context(), from, []shardlog.Entry{entry}); !errors.Is(err, storage.ErrRetry) {
		t.Errorf("on a full disk: %v", err)
	}
	if p, err := store.Position(t.Context()); err != nil || p != from {
		t.Errorf("at %v, %v", p, err)
	}
	limit(1 << 30)
	if _, err := store.Apply(t.Context(), from, []shardlog.Entry{entry}); err != nil {
		t.Errorf("when there is space again: %v", err)
	}
}

// A file that is no replica is a fault to report, not a thing to make anew.
func TestEngine_ReportsARuinedFile(t *testing.T) {
	dir := t.TempDir()
	spec := storetest.Students()
	path := filepath.Join(dir, fileName(spec.Table, spec.Shard.ID))
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	engine, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	for what, err := range map[string]error{
		"open":   second(engine.Open(t.Context(), spec.Table, spec.Shard.ID)),
		"create": second(engine.Create(t.Context(), spec, storetest.Log)),
		"list":   second(engine.List(t.Context())),
	} {
		if err == nil || errors.Is(err, events.ErrNotFound) || errors.Is(err, storage.ErrRetry) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(b), "no database") {
		t.Errorf("the file was touched: %.40q, %v", b, err)
	}
}

func second[T any](_ T, err error) error { return err }

// What an interrupted Create leaves is nothing.
func TestEngine_IgnoresAFileWithoutTables(t *testing.T) {
	dir := t.TempDir()
	spec := storetest.Students()
	if err := os.WriteFile(filepath.Join(dir, fileName(spec.Table, spec.Shard.ID)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := created(t, dir)
	if p, err := store.Position(t.Context()); err != nil || p.Seq != 0 {
		t.Errorf("at %v, %v", p, err)
	}
}
