package oplog_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.ServeBus() {
		return
	}
	goleak.VerifyTestMain(m)
}

var theLog = events.LogID{Table: "StudT", Shard: "sh1", Incarnation: "first"}

func createLog(t testing.TB, c *bus.Conn, id events.LogID) {
	t.Helper()
	if _, err := c.CreateLog(testkit.Context(t), id, 0); err != nil {
		t.Fatal(err)
	}
}

// run runs a writer until the test, or stop, ends it.
func run(t testing.TB, cfg oplog.Config, logs oplog.Log, listener oplog.Listener, replicas oplog.ResultReader) (w *oplog.Writer, stop func()) {
	t.Helper()
	w = oplog.New(cfg, logs, listener, replicas, testkit.Log(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return w, stop
}

func insert(key int64) *shardlog.Op {
	return &shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text("name"), rowjson.Int(27)}}}
}
