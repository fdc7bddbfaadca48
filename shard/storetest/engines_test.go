package storetest

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/sqlite"
	"ringway/shard/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opener opens the same data each time it is called in one test, and different
// data in another. Whoever calls it closes what it opens.
type opener func(t testing.TB) storage.Engine

// engines are all there are. Each has one place for its data while a test runs.
var engines = map[string]func(testing.TB) opener{"mysql": inServer, "sqlite": inDirectory}

// inServer keeps the data of each test in a database of its own, in one server.
func inServer(t testing.TB) opener {
	t.Helper()
	sup, _ := mysqldtest.Start(t, mysqld.DefaultConfig(t.TempDir()))
	return func(t testing.TB) storage.Engine {
		t.Helper()
		cfg := mysql.DefaultConfig()
		cfg.DSN = sup.DSN(fmt.Sprintf("test%08x", crc32.ChecksumIEEE([]byte(t.Name())))) // a name may be too long
		engine, err := mysql.Open(t.Context(), cfg)
		testkit.Must(t, err)
		return engine
	}
}

// inDirectory keeps the data of each test in a directory of its own.
func inDirectory(testing.TB) opener {
	dirs := map[string]string{}
	return func(t testing.TB) storage.Engine {
		t.Helper()
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		engine, err := sqlite.Open(dirs[t.Name()])
		testkit.Must(t, err)
		return engine
	}
}

// BenchmarkApply applies single-row inserts in transactions of so many batches.
func BenchmarkApply(b *testing.B) {
	for name, place := range engines {
		b.Run(name, func(b *testing.B) {
			engine := place(b)(b)
			defer engine.Close()
			for _, n := range []int{1, 64, 256} {
				b.Run(fmt.Sprint(n), func(b *testing.B) { benchApply(b, engine, n) })
			}
		})
	}
}

// benchApply reports rows a second.
func benchApply(b *testing.B, engine storage.Engine, n int) {
	spec := Students()
	spec.Shard.ID = fmt.Sprintf("bench%d_%d", n, b.N)
	if err := engine.Drop(b.Context(), spec.Table, spec.Shard.ID); err != nil {
		b.Fatal(err)
	}
	store, err := engine.Create(b.Context(), spec, Log)
	if err != nil {
		b.Fatal(err)
	}
	position := events.Position{Incarnation: Log}
	name, at, key := strings.Repeat("n", 12), noon, int64(0)
	for b.Loop() {
		entries := make([]shardlog.Entry, n)
		for i := range entries {
			key++
			at = at.Add(time.Millisecond)
			entries[i] = shardlog.Entry{Seq: position.Seq + uint64(i) + 1, Time: at, Batch: shardlog.Batch{
				ID: fmt.Sprintf("01HV3Q7ZK5X8-%d", key), Writer: "r1", Table: spec.Table, Shard: spec.Shard.ID,
				Ops: []shardlog.Op{insert(Student(key, name, rowjson.Int(27)))},
			}}
		}
		if _, err := store.Apply(b.Context(), position, entries); err != nil {
			b.Fatal(err)
		}
		position.Seq, position.Batch = entries[n-1].Seq, entries[n-1].Batch.ID
	}
	b.ReportMetric(float64(key)/b.Elapsed().Seconds(), "rows/s")
}
