package oplog_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// applier is a replica without a database: it reads a log, keeps the results
// of its batches by id and publishes them, unless it is mute.
type applier struct {
	conn *bus.Conn
	id   events.LogID

	mu      sync.Mutex
	mute    bool
	keys    []int64 // inserted, in the order of the log
	seen    map[int64]bool
	batches int
	repeats int // batches that came again under their id
	largest int // batch in bytes
	known   map[string]shardlog.Results
	asked   int
}

// apply follows a log until the test ends.
func apply(t testing.TB, c *bus.Conn, id events.LogID) *applier {
	t.Helper()
	a := &applier{conn: c, id: id, seen: map[int64]bool{}, known: map[string]shardlog.Results{}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Log(id).Read(ctx, events.Position{}, nil, a.batch); err != nil {
			t.Logf("applier: %v", err)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return a
}

func (a *applier) batch(seq uint64, _ time.Time, data []byte, _ bool) error {
	b, err := shardlog.DecodeBatch(data)
	if err != nil {
		return err
	}
	r, mute := a.settle(seq, &b, len(data))
	if !mute {
		_ = a.conn.Publish(events.ResultSubject(b.Writer, b.Table, b.Shard), r) // a hint
	}
	return nil
}

func (a *applier) settle(seq uint64, b *shardlog.Batch, size int) (shardlog.Results, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.known[b.ID]; ok {
		a.repeats++
		return r, a.mute
	}
	a.batches++
	a.largest = max(a.largest, size)
	r := shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Seq: seq, Ops: len(b.Ops)}
	for i, op := range b.Ops {
		for _, row := range op.Rows {
			if key := row.Key(); a.seen[key] {
				r.Notable = append(r.Notable, shardlog.Result{Op: i, Outcome: shardlog.Duplicate, Keys: []int64{key}, Count: 1})
			} else {
				a.seen[key] = true
			}
			a.keys = append(a.keys, row.Key())
		}
	}
	a.known[b.ID] = r
	return r, a.mute
}

// Results answers a writer that lost them.
func (a *applier) Results(_ context.Context, _ events.LogID, batch string) (shardlog.Results, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if r, ok := a.known[batch]; ok {
		return r, nil
	}
	return shardlog.Results{}, events.ErrNotFound
}

func (a *applier) setMute(mute bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mute = mute
}

// upTo waits until the applier has read all that the log has now.
func (a *applier) upTo(t testing.TB) {
	t.Helper()
	var last uint64
	testkit.Eventually(t, func() error {
		s, err := a.conn.Log(a.id).State(testkit.Context(t))
		last = s.Last
		return err
	})
	testkit.Eventually(t, func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if got := uint64(a.batches + a.repeats); got < last {
			return fmt.Errorf("%d batches of %d are read", got, last)
		}
		return nil
	})
}

// where is the place of each key among all, and how often it is there.
func (a *applier) where() (at map[int64]int, times map[int64]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, times = map[int64]int{}, map[int64]int{}
	for i, key := range a.keys {
		at[key] = i
		times[key]++
	}
	return at, times
}
