package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus/logs"
	"ringway/events/bus/server"
	"ringway/internal/testkit"
)

// powerLog is a log on a bus whose store is on the disk.
func powerLog(t *testing.T, b *testkit.Bus) *logs.Log {
	t.Helper()
	c := testkit.Connect(t, b.URL())
	id := events.LogID{Table: "StudT", Shard: "sh1", Incarnation: "first"}
	_, err := c.CreateLog(testkit.Context(t), id, 0)
	testkit.Must(t, err)
	return c.Log(id)
}

func powerAppend(l *logs.Log, id string) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return l.Append(ctx, id, fmt.Appendf(nil, `{"id":%q,"writer":"w","table":"StudT","shard":"sh1","ops":[{"op":"barrier"}]}`, id))
}

func wantSeq(t *testing.T, l *logs.Log, id string, want uint64) {
	t.Helper()
	var seq uint64
	eventually(t, 30*time.Second, func() (err error) {
		seq, err = powerAppend(l, id)
		return err
	})
	if seq != want {
		t.Fatalf("batch %s has seq %d, want %d", id, seq, want)
	}
}

// P1: what could not be synced is never answered as stored, however often it is
// sent, and is not there afterwards.
func TestBus_AcknowledgesNoBatchThatItCouldNotSync(t *testing.T) {
	disk := newPowerDisk(t)
	b := testkit.StartBus(t, func(cfg *server.Config) { cfg.Store = filepath.Join(disk.dir, "store") })
	l := powerLog(t, b)
	wantSeq(t, l, "kept", 1)
	disk.cut()
	for range 2 {
		if seq, err := powerAppend(l, "lost"); err == nil {
			t.Errorf("answered as seq %d on a disk that takes nothing", seq)
		}
	}
	b.Shutdown()
	disk.restore()
	b.Start()
	wantSeq(t, l, "other", 2)
	wantSeq(t, l, "lost", 3)
	b.Shutdown()
}

// P1: a bus that is killed between its write and its sync leaves a batch that
// its successor finds, and answers as stored when it is sent again.
func TestBus_SyncsWhatAKilledOneWrote(t *testing.T) {
	disk := newPowerDisk(t)
	killed := testkit.StartBus(t)
	wantSeq(t, powerLog(t, killed), "batch", 1)
	store := filepath.Join(disk.dir, "store")
	testkit.Must(t, os.CopyFS(store, os.DirFS(killed.Config.Store))) // written, and never synced
	killed.Shutdown()

	b := testkit.StartBus(t, func(cfg *server.Config) { cfg.Store = store })
	l := powerLog(t, b)
	wantSeq(t, l, "batch", 1)
	disk.cut()
	b.Shutdown()
	disk.restore()
	b.Start()
	wantSeq(t, powerLog(t, b), "other", 2)
	b.Shutdown()
}
