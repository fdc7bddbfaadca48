package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/shard"
	"ringway/shard/mysql"
	"ringway/shard/mysql/mysqld"
	"ringway/shard/storetest"
)

// server is the one that most tests share, started by the first.
var server struct {
	once sync.Once
	sup  *mysqld.Supervisor
	err  error
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.stop != nil {
		server.stop()
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// start runs a server of its own in dir; it is ready when this returns.
func start(dir string) (*mysqld.Supervisor, func(), error) {
	found, err := mysqld.Find(context.Background())
	if err != nil {
		return nil, nil, err
	}
	cfg := mysqld.DefaultConfig(dir)
	cfg.BackOff, cfg.MostBackOff = 10*time.Millisecond, 100*time.Millisecond
	sup, err := mysqld.New(cfg, found, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sup.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	waiting, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := sup.Ready(waiting); err != nil {
		stop()
		return nil, nil, err
	}
	return sup, stop, nil
}

// missing skips where no server can be had, except where it has to be.
func missing(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, mysqld.ErrNoServer) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func shared(t testing.TB) *mysqld.Supervisor {
	t.Helper()
	server.once.Do(func() {
		dir, err := os.MkdirTemp("", "ringway-test")
		if err != nil {
			server.err = err
			return
		}
		var stop func()
		server.sup, stop, server.err = start(dir)
		server.stop = func() {
			if stop != nil {
				stop()
			}
			if err := os.RemoveAll(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	})
	missing(t, server.err)
	return server.sup
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

// database is one for t alone, the same each time, however often the test is run.
func database(t testing.TB) string {
	name, found := databases.LoadOrStore(t, fmt.Sprintf("test%d", serial.Add(1)))
	if !found {
		t.Cleanup(func() { databases.Delete(t) })
	}
	return name.(string)
}

var (
	databases sync.Map
	serial    atomic.Int64
)

func TestConformance(t *testing.T) {
	sup := shared(t)
	storetest.Run(t, func(t *testing.T) shard.Engine { return open(t, sup.DSN(database(t))) })
}

func BenchmarkApply(b *testing.B) {
	engine := open(b, shared(b).DSN(database(b)))
	defer engine.Close()
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { storetest.Bench(b, engine, n) })
	}
}
