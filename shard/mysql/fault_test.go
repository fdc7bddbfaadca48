package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/storage"
	"ringway/shard/storetest"
)

// ownEngine is a server that a test may ill-treat.
func ownEngine(t *testing.T) (*mysqld.Supervisor, storage.Engine) {
	t.Helper()
	sup, _ := start(t)
	engine := open(t, sup.DSN("ringway"))
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return sup, engine
}

// own is such a server with one replica in it.
func own(t *testing.T) (*mysqld.Supervisor, storage.Store) {
	t.Helper()
	sup, engine := ownEngine(t)
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	if err != nil {
		t.Fatal(err)
	}
	return sup, store
}

// applier is one that runs until the end of the test at the latest.
type applier struct {
	seq    atomic.Uint64 // the last that was applied
	stop   func()        // after a transaction
	cancel func()        // in one; whether that is committed afterwards nobody knows
}

func applying(t *testing.T, store storage.Store) *applier {
	t.Helper()
	a := &applier{}
	ctx, cancel := context.WithCancel(t.Context())
	var stopping atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		err := storetest.ApplyLog(ctx, store, func(seq uint64) bool {
			a.seq.Store(seq)
			return !stopping.Load()
		})
		if err != nil {
			t.Error(err)
		}
	})
	a.stop = func() {
		stopping.Store(true)
		running.Wait()
	}
	a.cancel = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(a.cancel)
	return a
}

func (a *applier) beyond(n uint64) func() error {
	return func() error {
		if got := a.seq.Load(); got <= n {
			return fmt.Errorf("applied %d, want more than %d", got, n)
		}
		return nil
	}
}

func TestStore_AppliesOnceWhenTheServerIsKilled(t *testing.T) {
	sup, store := own(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a := applying(t, store)
	for range 6 {
		testkit.Eventually(t, a.beyond(a.seq.Load()+random.Uint64N(200)))
		if err := syscall.Kill(sup.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, a.beyond(a.seq.Load()+1))
	}
	a.stop()
	t.Logf("applied %d", storetest.CheckLog(t, store))
}

func TestStore_AppliesOnceWhenTheServerStandsStill(t *testing.T) {
	sup, store := own(t)
	a := applying(t, store)
	testkit.Eventually(t, a.beyond(20))
	pid := sup.PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal is on its way to every thread for some time.
	testkit.Eventually(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, _, err := storetest.Get(ctx, store, 1); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("a read of a server that stands still: %w", err)
		}
		return nil
	})
	began := time.Now()
	a.cancel() // in the middle of an Apply, most likely
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a cancelled Apply took %s to return", took)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	a = applying(t, store)
	testkit.Eventually(t, a.beyond(40))
	a.stop()
	storetest.CheckLog(t, store)
}

func TestStore_SaysRetryWhenTheServerIsAway(t *testing.T) {
	sup, stop := start(t)
	engine := open(t, sup.DSN("ringway"))
	defer engine.Close()
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	_, err = store.Apply(t.Context(), events.Position{Incarnation: storetest.Log}, []shardlog.Entry{storetest.Entry(store.Spec(), 1)})
	if !errors.Is(err, storage.ErrRetry) {
		t.Errorf("apply: %v", err)
	}
	_, err = store.Position(t.Context())
	if !errors.Is(err, storage.ErrRetry) {
		t.Errorf("position: %v", err)
	}
	cfg := mysql.DefaultConfig()
	cfg.DSN = sup.DSN("ringway")
	if _, err := mysql.Open(t.Context(), cfg); !errors.Is(err, storage.ErrRetry) {
		t.Errorf("open: %v", err)
	}
}

func TestStore_SaysRetryWhenALockIsHeld(t *testing.T) {
	sup, _ := start(t)
	dsn := sup.DSN("ringway")
	cfg := mysql.DefaultConfig()
	cfg.DSN, cfg.LockWait = dsn, time.Second
	engine, err := mysql.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), "SELECT * FROM ringway_replicas FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	from, entries := events.Position{Incarnation: storetest.Log}, []shardlog.Entry{storetest.Entry(store.Spec(), 1)}
	if _, err := store.Apply(t.Context(), from, entries); !errors.Is(err, storage.ErrRetry) {
		t.Errorf("while the lock is held: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply(t.Context(), from, entries); err != nil {
		t.Error(err)
	}
	storetest.CheckLog(t, store)
}

// Sixteen replicas share the connections. None may hold one and wait for another.
func TestEngine_ManyAppliersShareFewConnections(t *testing.T) {
	sup, _ := start(t)
	cfg := mysql.DefaultConfig()
	cfg.DSN, cfg.Connections = sup.DSN("ringway"), 2
	engine, err := mysql.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	var stores []storage.Store
	for i := range 8 {
		spec := storetest.Students()
		spec.Shard.ID = fmt.Sprintf("s%d", i)
		store, err := engine.Create(t.Context(), spec, storetest.Log)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, store)
	}
	var appliers []*applier
	for _, s := range stores {
		appliers = append(appliers, applying(t, s))
	}
	for i, s := range stores {
		testkit.Eventually(t, appliers[i].beyond(20))
		appliers[i].stop()
		storetest.CheckLog(t, s)
	}
}

// A server may allow other clients next to no time.
func TestStore_HasNoTimeLimitOfTheServers(t *testing.T) {
	sup, _ := start(t)
	db, err := sql.Open("mysql", sup.DSN(""))
	testkit.Must(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "SET GLOBAL max_statement_time=0.000001")
	if err != nil { // MySQL; milliseconds
		_, err = db.ExecContext(t.Context(), "SET GLOBAL max_execution_time=1")
	}
	testkit.Must(t, err)
	engine := open(t, sup.DSN("ringway"))
	defer engine.Close()
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	testkit.Must(t, err)
	entry := storetest.Entry(store.Spec(), 1)
	var rows []rowjson.Row
	for id := range int64(20_000) { // more than a millisecond can read
		rows = append(rows, storetest.Student(id, "x", rowjson.Int(27)))
	}
	entry.Batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: rows}}
	_, err = store.Apply(t.Context(), events.Position{Incarnation: storetest.Log}, []shardlog.Entry{entry})
	testkit.Must(t, err)
	n := 0
	_, err = store.Range(t.Context(), 0, math.MaxInt64, func(rowjson.Row, uint64) error { n++; return nil })
	testkit.Must(t, err)
	if n != len(rows) {
		t.Errorf("read %d rows", n)
	}
}

// People may look at the rows with any client.
func TestStore_KeepsRowsThatPeopleCanRead(t *testing.T) {
	sup, _ := start(t)
	dsn := sup.DSN("ringway")
	engine := open(t, dsn)
	defer engine.Close()
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	if err != nil {
		t.Fatal(err)
	}
	entry := storetest.Entry(store.Spec(), 1)
	entry.Batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{storetest.Student(2255, "Zoë", rowjson.Int(27))}}}
	if _, err := store.Apply(t.Context(), events.Position{Incarnation: storetest.Log}, []shardlog.Entry{entry}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var marks int
	if err := db.QueryRowContext(t.Context(), "SELECT Stud_marks + 1 FROM `StudT$sh1` WHERE Stud_name = 'Zoë'").Scan(&marks); err != nil || marks != 28 {
		t.Errorf("got %d, %v", marks, err)
	}
}
