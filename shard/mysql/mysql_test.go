package mysql_test

import (
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/storage"
	"ringway/shard/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server that is soon back when it is killed.
func start(t testing.TB) (sup *mysqld.Supervisor, stop func()) {
	t.Helper()
	cfg := mysqld.DefaultConfig(t.TempDir())
	cfg.BackOff, cfg.MaxBackOff = 10*time.Millisecond, 100*time.Millisecond
	return mysqldtest.Start(t, cfg)
}

func open(t testing.TB, dsn string) *mysql.Engine {
	t.Helper()
	cfg := mysql.DefaultConfig()
	cfg.DSN = dsn
	engine, err := mysql.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// database is that of one test, whose name may be too long for it.
func database(t testing.TB) string {
	return fmt.Sprintf("test%08x", crc32.ChecksumIEEE([]byte(t.Name())))
}

func TestConformance(t *testing.T) {
	sup, _ := start(t)
	storetest.Run(t, func(t *testing.T) storage.Engine { return open(t, sup.DSN(database(t))) })
}

func BenchmarkApply(b *testing.B) {
	sup, _ := start(b)
	engine := open(b, sup.DSN("ringway"))
	defer engine.Close()
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { storetest.Bench(b, engine, n) })
	}
}
