package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// outside is a client that is not ours.
type outside struct {
	t  *testing.T
	db *sql.DB
}

func look(t *testing.T, sup *mysqld.Supervisor) outside {
	t.Helper()
	db, err := sql.Open("mysql", sup.DSN("ringway"))
	testkit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() }) // it reads
	return outside{t, db}
}

func (o outside) do(statement string) {
	o.t.Helper()
	_, err := o.db.ExecContext(o.t.Context(), statement)
	testkit.Must(o.t, err)
}

func (o outside) count(query string) (n int) {
	o.t.Helper()
	testkit.Must(o.t, o.db.QueryRowContext(o.t.Context(), query).Scan(&n))
	return n
}

// connections are those of engines.
func (o outside) connections() int {
	o.t.Helper()
	return o.count("SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'ringway' AND id <> CONNECTION_ID()")
}

// hold begins a transaction with one statement.
func (o outside) hold(statement string) *sql.Tx {
	o.t.Helper()
	tx, err := o.db.BeginTx(o.t.Context(), nil)
	testkit.Must(o.t, err)
	_, err = tx.ExecContext(o.t.Context(), statement)
	testkit.Must(o.t, err)
	return tx
}

// unlocked fails if a replica is locked.
func (o outside) unlocked() error {
	var n int
	return o.db.QueryRowContext(o.t.Context(), "SELECT COUNT(*) FROM ringway_replicas FOR UPDATE NOWAIT").Scan(&n)
}

// quiet fails if a replica is locked, or any transaction open. The server has
// some of its own now and then.
func (o outside) quiet() error {
	if err := o.unlocked(); err != nil {
		return err
	}
	if report := o.report(); strings.Contains(report, ", ACTIVE ") {
		return fmt.Errorf("a transaction is open:\n%s", report)
	}
	return nil
}

// waiting fails until somebody waits for a lock.
func (o outside) waiting() error {
	if report := o.report(); !strings.Contains(report, "LOCK WAIT") {
		return fmt.Errorf("nobody waits for a lock:\n%s", report)
	}
	return nil
}

// report is of transactions. The tables of information_schema are not made
// anew for whoever asks often.
func (o outside) report() string {
	o.t.Helper()
	var engine, name, report string
	testkit.Must(o.t, o.db.QueryRowContext(o.t.Context(), "SHOW ENGINE INNODB STATUS").Scan(&engine, &name, &report))
	_, report, _ = strings.Cut(report, "\nTRANSACTIONS\n")
	report, _, _ = strings.Cut(report, "\nFILE I/O\n")
	return report
}

var origin = events.Position{Incarnation: storetest.Log}

func inserting(store storage.Store, seq uint64, key int64) []shardlog.Entry {
	entry := storetest.Entry(store.Spec(), seq)
	entry.Batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{storetest.Student(key, "Ann", rowjson.Int(1))}}}
	return []shardlog.Entry{entry}
}

func after(entries []shardlog.Entry) events.Position {
	last := entries[len(entries)-1]
	return events.Position{Incarnation: storetest.Log, Seq: last.Seq, Batch: last.Batch.ID}
}

// An idle connection to a server that died costs nobody an error.
func TestStore_AppliesAtOnceWhenTheServerIsBack(t *testing.T) {
	sup, store := own(t)
	at, killed := origin, 0
	for seq := range uint64(4) {
		testkit.Eventually(t, func() error {
			if sup.PID() == killed {
				return errors.New("it still runs")
			}
			return sup.Ready(t.Context())
		})
		entries := inserting(store, seq+1, int64(seq))
		if _, err := store.Apply(t.Context(), at, entries); err != nil {
			t.Fatalf("after %d restarts: %v", seq, err)
		}
		if p, err := store.Position(t.Context()); err != nil || p != after(entries) {
			t.Fatalf("at %v, %v", p, err)
		}
		at = after(entries)
		if killed = sup.PID(); seq < 3 {
			testkit.Must(t, syscall.Kill(killed, syscall.SIGKILL))
		}
	}
}

func TestStore_LeavesNoTransactionOpen(t *testing.T) {
	sup, store := own(t)
	o := look(t, sup)
	first := inserting(store, 1, 1)
	apply := func(what string, from events.Position, entries []shardlog.Entry, want error) {
		t.Helper()
		if _, err := store.Apply(t.Context(), from, entries); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if err := o.unlocked(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		testkit.Eventually(t, o.quiet)
	}
	apply("applied", origin, first, nil)
	apply("fenced", origin, first, storage.ErrFenced)
	again := inserting(store, 2, 1)
	apply("a duplicate", after(first), again, nil)

	o.do("CREATE TRIGGER refuse BEFORE INSERT ON `StudT$sh1$results` FOR EACH ROW SIGNAL SQLSTATE '45000'")
	next := inserting(store, 3, 3)
	if _, err := store.Apply(t.Context(), after(again), next); err == nil {
		t.Error("applied in spite of the trigger")
	}
	if err := o.unlocked(); err != nil {
		t.Fatalf("failed: %v", err)
	}
	testkit.Eventually(t, o.quiet)
	o.do("DROP TRIGGER refuse")
	if n := o.count("SELECT COUNT(*) FROM `StudT$sh1`"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	apply("the same again", after(again), next, nil)
}

func TestStore_CancelledApplyLeavesNoLock(t *testing.T) {
	sup, _ := start(t)
	cfg := mysql.DefaultConfig()
	cfg.DSN, cfg.LockWait = sup.DSN("ringway"), time.Hour
	engine, err := mysql.Open(t.Context(), cfg)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, engine.Close()) })
	store, err := engine.Create(t.Context(), storetest.Students(), storetest.Log)
	testkit.Must(t, err)
	o := look(t, sup)
	entries := inserting(store, 1, 1)
	row := o.hold("INSERT INTO `StudT$sh1` SELECT 1, 'Eve', '2', 3, ''") // Apply waits for it with the replica locked
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := store.Apply(ctx, origin, entries)
		ended <- err
	}()
	testkit.Eventually(t, o.waiting)
	cancel()
	testkit.Eventually(t, func() error {
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			return nil
		default:
			return errors.New("a cancelled Apply waits for the lock")
		}
	})
	testkit.Must(t, row.Rollback())
	testkit.Eventually(t, o.quiet)
	at, err := store.Position(t.Context())
	testkit.Must(t, err)
	switch at {
	case after(entries): // the server ended what it had begun
	case origin:
		if _, err := store.Apply(t.Context(), origin, entries); err != nil {
			t.Error(err)
		}
	default:
		t.Errorf("at %s", at)
	}
	if n := o.count("SELECT COUNT(*) FROM `StudT$sh1` WHERE Stud_name = 'Ann'"); n != 1 {
		t.Errorf("%d rows of the batch, want 1", n)
	}
}

// An applier whose store remembers a position that the replica has left has no part
// of its batch applied.
func TestStore_AStaleBatchIsFenced(t *testing.T) {
	sup, store := own(t)
	o := look(t, sup)
	rows := func() int {
		return o.count("SELECT COUNT(*) FROM `StudT$sh1`") + o.count("SELECT COUNT(*) FROM `StudT$sh1$results`")
	}
	at, now := origin, time.Now()
	apply := func() error {
		entries := inserting(store, at.Seq+1, int64(1000*at.Seq))
		entries[0].Time = now                                      // nothing is out of date
		entries[0].Batch.ID = fmt.Sprint("batch ", entries[0].Seq) // nor comes again
		_, err := store.Apply(t.Context(), at, entries)
		if err == nil {
			at = after(entries)
		}
		return err
	}
	for _, change := range []string{"seq = seq + 1", "incarnation = 'another'", "batch = 'another'", "copying = 1", "name = 'another'"} {
		testkit.Must(t, apply()) // the store relies on where it is
		before := rows()
		o.do("UPDATE ringway_replicas SET " + change)
		if err := apply(); !errors.Is(err, storage.ErrFenced) {
			t.Errorf("%s: %v", change, err)
		}
		if n := rows(); n != before {
			t.Errorf("%s: %d rows and results, %d before", change, n, before)
		}
		o.do(fmt.Sprintf("UPDATE ringway_replicas SET name = 'StudT$sh1', seq = %d, incarnation = '%s', batch = '%s', copying = 0", at.Seq, at.Incarnation, at.Batch))
	}
	testkit.Must(t, apply())
}

// A purge goes with a transaction that fails, and is done with the next one.
func TestStore_PurgesThoughBatchesMeetDuplicates(t *testing.T) {
	sup, store := own(t)
	o := look(t, sup)
	begun, at := time.Now(), origin
	const each = 20 * time.Second
	for n := range uint64(100) {
		entries := inserting(store, n+1, 1)
		entries[0].Time = begun.Add(time.Duration(n) * each)
		entries[0].Batch.ID = fmt.Sprint("batch ", n)
		_, err := store.Apply(t.Context(), at, entries)
		testkit.Must(t, err)
		at = after(entries)
	}
	if n, most := o.count("SELECT COUNT(*) FROM `StudT$sh1$results`"), int(shardlog.ResultsKept/each)+1; n > most {
		t.Errorf("%d results are kept, want at most %d", n, most)
	}
}

func TestEngine_CloseLeavesATransactionItsConnection(t *testing.T) {
	sup, _ := start(t)
	engine := open(t, sup.DSN("ringway"))
	o := look(t, sup)
	first := func(store storage.Store) []shardlog.Entry { return inserting(store, 1, 1) }
	var stores []storage.Store
	for i := range 3 {
		spec := storetest.Students()
		spec.Shard.ID = fmt.Sprint("s", i)
		store, err := engine.Create(t.Context(), spec, storetest.Log)
		testkit.Must(t, err)
		_, err = store.Apply(t.Context(), origin, first(store))
		testkit.Must(t, err)
		stores = append(stores, store)
	}
	held := o.hold("SELECT * FROM ringway_replicas WHERE shard = 's1' FOR UPDATE")
	ended := make(chan error, 1)
	go func() {
		_, err := stores[1].Apply(t.Context(), after(first(stores[1])), inserting(stores[1], 2, 2))
		ended <- err
	}()
	testkit.Eventually(t, o.waiting)
	if err := engine.Close(); err == nil {
		t.Error("nothing is reported of the transaction that runs")
	}
	_, err := stores[1].Apply(t.Context(), after(first(stores[1])), inserting(stores[1], 2, 2)) // which does not wait
	if err == nil || errors.Is(err, storage.ErrRetry) || errors.Is(err, storage.ErrFenced) {
		t.Errorf("apply after close: %v", err)
	}
	testkit.Must(t, held.Rollback())
	if err := <-ended; err != nil {
		t.Errorf("the transaction that ran: %v", err)
	}
	testkit.Eventually(t, func() error {
		if n := o.connections(); n > 1 { // held's
			return fmt.Errorf("%d connections are left", n)
		}
		return o.quiet()
	})
	if err := engine.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestEngine_KeepsToItsConnections(t *testing.T) {
	sup, _ := start(t)
	cfg := mysql.DefaultConfig()
	cfg.DSN, cfg.Connections = sup.DSN("ringway"), 5
	engine, err := mysql.Open(t.Context(), cfg)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, engine.Close()) })
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	var appliers []*applier
	for i := range 8 {
		spec := storetest.Students()
		spec.Shard.ID = fmt.Sprint("s", i)
		store, err := engine.Create(t.Context(), spec, storetest.Log)
		testkit.Must(t, err)
		appliers = append(appliers, applying(t, store))
		readers.Go(func() {
			for ctx.Err() == nil {
				snapshot, err := store.Snapshot(ctx)
				if err == nil {
					err = snapshot.Close()
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	o := look(t, sup)
	o.db.SetMaxOpenConns(1) // which does not count itself
	most := 0
	for _, a := range appliers {
		testkit.Eventually(t, func() error {
			most = max(most, o.connections())
			return a.beyond(20)()
		})
	}
	if most > cfg.Connections || most < 3 {
		t.Errorf("%d connections, want 3 to %d", most, cfg.Connections)
	}
	cfg.Connections = 1
	if one, err := mysql.Open(t.Context(), cfg); err == nil {
		t.Errorf("one connection is enough, it says: %v", one.Close())
	}
}

// Statements are prepared for a table that goes, and another comes.
func TestEngine_DropAndCreateAgain(t *testing.T) {
	_, engine := ownEngine(t)
	specs := []events.ShardSpec{storetest.Students(), storetest.Students(), storetest.Students(), storetest.Students()}
	specs[2].Schema.DTypes = []string{"Number", "String", "Number", "String"} // the same statements, another table
	var old storage.Store
	for i, spec := range specs {
		store, err := engine.Create(t.Context(), spec, storetest.Log)
		testkit.Must(t, err)
		at := origin
		for seq := range uint64(3) {
			entry := storetest.Entry(spec, seq+1)
			row := storetest.Student(int64(seq), "Ann", rowjson.Int(1))
			if i == 2 {
				row[3] = rowjson.Text("x")
			}
			entry.Batch.Ops = []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row}}}
			results, err := store.Apply(t.Context(), at, []shardlog.Entry{entry})
			if err != nil || len(results[0].Notable) > 0 {
				t.Fatalf("table %d, seq %d: %v, %v", i, seq, results, err)
			}
			if got, _, err := storetest.Get(t.Context(), store, int64(seq)); err != nil || len(got) != len(row) || got[3].Raw() != row[3].Raw() {
				t.Fatalf("table %d, key %d: got %v, %v", i, seq, got, err)
			}
			at = after([]shardlog.Entry{entry})
		}
		testkit.Must(t, engine.Drop(t.Context(), spec.Table, spec.Shard.ID))
		old = store
	}
	if _, err := old.Apply(t.Context(), origin, inserting(old, 1, 9)); !errors.Is(err, storage.ErrFenced) && !errors.Is(err, events.ErrNotFound) {
		t.Errorf("to a replica that is dropped: %v", err)
	}
}
