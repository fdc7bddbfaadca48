// Package mysqldtest is what tests that need a database server stand on.
//
// Nothing that it starts outlives the test that it was started for.
package mysqldtest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"ringway/internal/testkit"
	"ringway/shard/mysql/mysqld"
)

// Find is the server program of this machine. Without one the test is skipped,
// but for CI=true, where it has to run.
func Find(t testing.TB) mysqld.Server {
	t.Helper()
	server, err := mysqld.Find(t.Context())
	if errors.Is(err, mysqld.ErrNoServer) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	testkit.Must(t, err)
	return server
}

// Begin runs a server, which need not answer yet, until the test ends or calls
// stop.
func Begin(t testing.TB, cfg mysqld.Config) (s *mysqld.Supervisor, stop func()) {
	t.Helper()
	s, err := mysqld.New(cfg, Find(t), testkit.Quiet)
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// Start is Begin for a server that answers.
func Start(t testing.TB, cfg mysqld.Config) (s *mysqld.Supervisor, stop func()) {
	t.Helper()
	s, stop = Begin(t, cfg)
	Ready(t, s)
	return s, stop
}

// Ready waits until a server answers.
func Ready(t testing.TB, s *mysqld.Supervisor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	testkit.Must(t, s.Ready(ctx))
}
