package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/logs"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

var theLog = events.LogID{Table: "StudT", Shard: "sh1", Incarnation: "first"}

func createLog(t *testing.T, c *bus.Conn, id events.LogID) *logs.Log {
	t.Helper()
	if _, err := c.CreateLog(testkit.Context(t), id, 0); err != nil {
		t.Fatal(err)
	}
	return c.Log(id)
}

// other is the same log in another life.
func other(id events.LogID) events.LogID { id.Incarnation = "second"; return id }

func batchOf(id string) []byte {
	return fmt.Appendf(nil, `{"id":%q,"writer":"w","table":"StudT","shard":"sh1","ops":[{"op":"barrier"}]}`, id)
}

func appendAll(t *testing.T, l *logs.Log, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := l.Append(testkit.Context(t), id, batchOf(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantState(t *testing.T, l *logs.Log, first, last uint64) {
	t.Helper()
	s, err := l.State(testkit.Context(t))
	if err != nil || s.First != first || s.Last != last {
		t.Fatalf("the log holds %d to %d, %v; want %d to %d", s.First, s.Last, err, first, last)
	}
}

func wantRefusal(t *testing.T, err error, code int) {
	t.Helper()
	var statusErr *events.StatusError
	if !errors.As(err, &statusErr) || statusErr.Code != code || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v, want a refusal with %d", err, code)
	}
}

func wantNotStored(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v, want an error that says that nothing was stored", err)
	}
}

func TestCreateLog_IsExplicit(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	l := c.Log(theLog)
	_, err := l.State(ctx)
	wantErr(t, err, events.ErrLogMissing)
	_, err = l.Append(ctx, "b1", batchOf("b1"))
	wantErr(t, err, events.ErrLogMissing)
	wantNotStored(t, err)
	wantErr(t, l.Purge(ctx, 2), events.ErrLogMissing)
	wantErr(t, l.Read(ctx, events.Position{}, nil, nil), events.ErrLogMissing)
	if _, err := rawJS(t, srv.URL()).Stream(ctx, "RINGWAY_LOG_StudT-sh1"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("opening it made it: %v", err)
	}

	createLog(t, c, theLog)
	appendAll(t, l, "b1", "b2")
	s, err := c.CreateLog(ctx, theLog, 0)
	if err != nil || s.Last != 2 || s.Incarnation != "first" {
		t.Fatalf("created again: %+v, %v", s, err)
	}
	_, err = c.CreateLog(ctx, other(theLog), 0)
	wantErr(t, err, events.ErrLogForeign)
	_, err = c.Log(other(theLog)).Append(ctx, "b3", batchOf("b3"))
	wantErr(t, err, events.ErrLogForeign)
	wantNotStored(t, err)
	wantErr(t, c.DeleteLog(ctx, other(theLog)), events.ErrLogForeign)
	wantState(t, l, 1, 2)

	if err := c.DeleteLog(ctx, theLog); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteLog(ctx, theLog); err != nil {
		t.Fatalf("a log that is gone: %v", err)
	}
	for _, bad := range []events.LogID{{}, {Table: "a b", Shard: "s", Incarnation: "i"}, {Table: "a", Shard: "s.*", Incarnation: "i"}, {Table: "a", Shard: "s"}} {
		if _, err := c.CreateLog(ctx, bad, 0); err == nil {
			t.Errorf("a log %+v was made", bad)
		}
	}
}

// A shard that is recovered goes on counting where its best replica is.
func TestCreateLog_BeginsWhereItShould(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	s, err := c.CreateLog(testkit.Context(t), theLog, 101)
	if err != nil || s.First != 101 || s.Last != 100 {
		t.Fatalf("got %+v, %v", s, err)
	}
	if seq, err := c.Log(theLog).Append(testkit.Context(t), "b", batchOf("b")); err != nil || seq != 101 {
		t.Fatalf("the first batch is at %d, %v", seq, err)
	}
	got := readLog(t, c.Log(theLog), events.Position{Incarnation: "first", Seq: 100, Batch: "of the life before"}, 1)
	if !slices.Equal(got, []string{"101 b"}) {
		t.Fatalf("read %v", got)
	}
}

func TestInspect_Log(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	appendAll(t, createLog(t, testkit.Connect(t, srv.URL()), theLog), "b1")
	stream, err := rawJS(t, srv.URL()).Stream(ctx, "RINGWAY_LOG_StudT-sh1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	for what, ok := range map[string]bool{
		"subjects":      slices.Equal(cfg.Subjects, []string{"ringway.log.StudT.sh1"}),
		"no age":        cfg.MaxAge == 0,
		"file storage":  cfg.Storage == jetstream.FileStorage,
		"limits":        cfg.Retention == jetstream.LimitsPolicy,
		"discard new":   cfg.Discard == jetstream.DiscardNew,
		"deny delete":   cfg.DenyDelete,
		"may be purged": !cfg.DenyPurge,
		"dedup window":  cfg.Duplicates == 90*time.Second,
		"incarnation":   cfg.Metadata["io.ringway.incarnation"] == "first",
		"one replica":   cfg.Replicas == 1,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, cfg)
		}
	}
	if err := stream.DeleteMsg(ctx, 1); err == nil {
		t.Error("a batch was deleted from the middle")
	}
	m, err := stream.GetMsg(ctx, 1)
	if err != nil || !bytes.Equal(m.Data, batchOf("b1")) {
		t.Fatalf("a person reads %q, %v", m.Data, err)
	}
}

func TestLogAppend_OnceForEachID(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	l := createLog(t, c, theLog)
	appendAll(t, l, "b1", "b2")
	seq, err := l.Append(ctx, "b1", batchOf("b1"))
	if err != nil || seq != 1 {
		t.Fatalf("sent again: %d, %v", seq, err)
	}
	srv.Shutdown()
	testkit.Eventually(t, func() error {
		if c.Connected() {
			return errors.New("still connected")
		}
		return nil
	})
	_, err = l.Append(ctx, "b3", batchOf("b3"))
	wantNotStored(t, err)
	srv.Start()
	testkit.Eventually(t, func() error {
		seq, err := l.Append(ctx, "b2", batchOf("b2"))
		if err == nil && seq != 2 {
			t.Fatalf("sent again after a restart: %d", seq)
		}
		return err
	})
	wantState(t, l, 1, 2)
	if _, err := l.Append(ctx, "", batchOf("x")); err == nil {
		t.Error("stored without an id")
	}
}

// Whoever waits no longer for an acknowledgement, since results came first,
// learnt nothing against the log: the next append asks the bus for nothing else.
func TestLogAppend_ThatIsCutAsksForNothing(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	appendAll(t, l, "b1")
	conn, err := nats.Connect(srv.URL())
	testkit.Must(t, err)
	defer conn.Close()
	asked, err := conn.SubscribeSync("$JS.API.STREAM.INFO.*")
	testkit.Must(t, err)
	stored, err := conn.SubscribeSync(events.LogSubject(theLog.Table, theLog.Shard))
	testkit.Must(t, err)
	testkit.Must(t, conn.Flush())
	for i, cuts := 2, 0; cuts < 3; i++ {
		ctx, cut := context.WithCancel(testkit.Context(t))
		go func() {
			_, _ = stored.NextMsg(10 * time.Second) // before it is synced, and so acknowledged
			cut()
		}()
		if _, err := l.Append(ctx, fmt.Sprint("b", i), batchOf("b")); errors.Is(err, context.Canceled) {
			cuts++
		} else {
			testkit.Must(t, err)
		}
	}
	appendAll(t, l, "last")
	testkit.Must(t, conn.Flush())
	if n, _, err := asked.Pending(); n > 0 || err != nil {
		t.Errorf("the bus was asked for the log %d times, %v", n, err)
	}
}

func TestLogAppend_TooLarge(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	_, err := l.Append(testkit.Context(t), "b", make([]byte, shardlog.MaxBatchBytes+1))
	wantRefusal(t, err, 413)
	if _, err := l.Append(testkit.Context(t), "b", make([]byte, shardlog.MaxBatchBytes)); err != nil {
		t.Fatalf("the largest batch: %v", err)
	}
}

func TestLogAppend_Full(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL(), func(cfg *bus.Config) { cfg.LogBytes = 10_000 })
	l := createLog(t, c, theLog)
	var err error
	n := uint64(0)
	for ; err == nil && n < 100; n++ {
		_, err = l.Append(ctx, fmt.Sprint("b", n), bytes.Repeat([]byte("x"), 1000))
	}
	wantErr(t, err, events.ErrLogFull)
	wantNotStored(t, err)
	wantState(t, l, 1, n-1)
	// What was there before is still known as such.
	if seq, err := l.Append(ctx, "b0", bytes.Repeat([]byte("x"), 1000)); err != nil || seq != 1 {
		t.Fatalf("a resent batch in a full log: %d, %v", seq, err)
	}
	if err := l.Purge(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if seq, err := l.Append(ctx, "after", []byte("x")); err != nil || seq != n {
		t.Fatalf("after the purge: %d, %v", seq, err)
	}
	// A person may give it more room.
	createLog(t, testkit.Connect(t, srv.URL()), theLog)
	if _, err := l.Append(ctx, "big", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
}

func TestLogAppend_NoticesANewLife(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	l := createLog(t, c, theLog)
	appendAll(t, l, "b1", "b2")
	// By another client, so that no reconnect gives it away.
	who := testkit.Connect(t, srv.URL())
	if err := who.DeleteLog(ctx, theLog); err != nil {
		t.Fatal(err)
	}
	createLog(t, who, other(theLog))
	_, err := l.Append(ctx, "b3", batchOf("b3"))
	wantErr(t, err, events.ErrLogForeign)
	wantErr(t, err, events.ErrUnknownOutcome) // it went there
	_, err = l.Append(ctx, "b4", batchOf("b4"))
	wantErr(t, err, events.ErrLogForeign)
	wantNotStored(t, err)
	wantState(t, who.Log(other(theLog)), 1, 1)
}

func TestLogAppend_AfterAWipe(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	appendAll(t, l, "b1")
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	testkit.Eventually(t, func() error {
		_, err := l.Append(testkit.Context(t), "b2", batchOf("b2"))
		if err == nil {
			t.Fatal("stored in a log that nobody made")
		}
		if errors.Is(err, events.ErrLogMissing) {
			return nil
		}
		return err
	})
}

func TestLogPurge(t *testing.T) {
	ctx := testkit.Context(t)
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	purge := func(below uint64) {
		t.Helper()
		if err := l.Purge(ctx, below); err != nil {
			t.Fatal(err)
		}
	}
	purge(0)
	purge(1)
	wantState(t, l, 1, 0)
	appendAll(t, l, "b1", "b2", "b3", "b4")
	purge(0)
	wantState(t, l, 1, 4)
	purge(3)
	wantState(t, l, 3, 4)
	purge(2)
	wantState(t, l, 3, 4)
	wantErr(t, l.Purge(ctx, 6), events.ErrLogForeign)
	wantState(t, l, 3, 4)
	purge(5)
	wantState(t, l, 5, 4)
	if seq, err := l.Append(ctx, "b5", batchOf("b5")); err != nil || seq != 5 {
		t.Fatalf("after everything was purged: %d, %v", seq, err)
	}
}

func TestLogGet(t *testing.T) {
	ctx := testkit.Context(t)
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	appendAll(t, l, "b1")
	at, data, err := l.Get(ctx, 1)
	if err != nil || !bytes.Equal(data, batchOf("b1")) || time.Since(at) > time.Minute {
		t.Fatalf("got %q of %s, %v", data, at, err)
	}
	_, _, err = l.Get(ctx, 2)
	wantErr(t, err, events.ErrNotFound)
}
