package logs

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus/link"
	"ringway/events/bus/server"
)

// A consumer that is silent though the log goes on cannot be had on demand;
// here is a reader whose consumer never was.
func TestLogReader_Watch(t *testing.T) {
	cfg := server.DefaultConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	srv, err := server.Start(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Shutdown()
	client := link.DefaultConfig()
	client.URL = srv.URL()
	conn, err := link.Connect(t.Context(), client, log)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := New(conn)
	id := events.LogID{Table: "t", Shard: "s", Incarnation: "i"}
	if _, err := c.CreateLog(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	f := func(last uint64, busy bool, patience time.Duration, want error) {
		t.Helper()
		r := &logReader{log: c.Log(id)}
		r.seq.Store(last)
		r.busy.Store(busy)
		ctx, stop := context.WithTimeout(t.Context(), patience)
		defer stop()
		ctx, silent := context.WithCancelCause(ctx)
		defer silent(nil)
		r.watch(ctx, 10*time.Millisecond, silent)
		if got := context.Cause(ctx); !errors.Is(got, want) {
			t.Fatalf("after %d, busy %v: %v, want %v", last, busy, got, want)
		}
	}
	const soon, long = 200 * time.Millisecond, 20 * time.Second
	f(0, false, soon, context.DeadlineExceeded) // nothing is there
	if _, err := c.Append(t.Context(), id, "b1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	f(1, false, soon, context.DeadlineExceeded) // it has all
	f(0, true, soon, context.DeadlineExceeded)  // it works on something
	f(0, false, long, errSilent)
	if err := c.DeleteLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	f(1, false, long, events.ErrLogMissing)
}
