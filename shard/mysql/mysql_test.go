package mysql_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/mysql/mysqldtest"
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
