package shard_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard"
	"ringway/shard/storage"
)

// always has a log copied rather than replayed.
func always(cfg *shard.Config) { cfg.MaxReplaySeq = 0 }

func TestFill_FromAPeerWhileWritesGoOn(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*")
	c.nodes["s1"].is(events.ReplicaReady)
	c.insert(0, 300)
	var next atomic.Int64
	next.Store(300)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			key := next.Load()
			_, err := c.writer.Do(ctx, c.log, &shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text("n")}}})
			cancel()
			if err != nil {
				t.Error(err)
				return
			}
			next.Add(1)
		}
	}()
	c.nodes["s2"].restart(always)
	c.keep("s1*", "s2")
	c.nodes["s2"].is(events.ReplicaReady)
	before := next.Load()
	testkit.Eventually(t, func() error {
		if next.Load() < before+20 {
			return fmt.Errorf("no writes")
		}
		return nil
	})
	close(stop)
	<-ended
	seq := c.do(&shardlog.Op{Kind: shardlog.OpBarrier}).Seq
	c.alike(seq, next.Load(), "s1", "s2")
	if c.nodes["s1"].served.Load() != 1 {
		t.Errorf("%d copies were taken", c.nodes["s1"].served.Load())
	}
}

func TestFill_WhatIsBehindThePurgeIsCopied(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	c.nodes["s2"].is(events.ReplicaReady)
	c.nodes["s2"].state(c.insert(0, 50))
	c.nodes["s2"].stop()
	seq := c.insert(50, 200)
	c.nodes["s1"].state(seq)
	if err := c.conn.Log(c.log).Purge(t.Context(), seq-2); err != nil {
		t.Fatal(err)
	}
	c.keep("s2") // nobody is ready: it waits, and keeps what it has
	c.nodes["s2"].start()
	if r := c.nodes["s2"].is(events.ReplicaHalted); r.Applied.Seq != 5 || !strings.Contains(r.Detail, "no longer has") {
		t.Errorf("it says %+v", r)
	}
	c.keep("s1*", "s2")
	c.nodes["s2"].is(events.ReplicaReady)
	c.alike(c.insert(200, 210), 210, "s1", "s2")
}

func TestFill_AnotherHistoryIsRebuiltOnlyFromAReadyReplica(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	n := c.nodes["s2"]
	n.restart(func(cfg *shard.Config) { cfg.Quarantine = filepath.Join(n.dir, "aside") })
	c.keep("s2*")
	n.is(events.ReplicaReady)
	c.insert(0, 30)
	// The log is lost, and made anew by somebody under its old name: s1 begins
	// with it, s2 knows more.
	old := n.state(3)
	c.must2(nil, c.conn.DeleteLog(t.Context(), c.log))
	c.must2(c.conn.CreateLog(t.Context(), c.log, 0))
	c.keep("s1", "s2")
	if r := n.is(events.ReplicaQuarantined); r.Applied != old.Position {
		t.Errorf("it says %+v", r)
	}
	if code, body := call(t, "GET", n.url("rows?log=life1"), ""); code != 503 {
		t.Errorf("it is read: %d %s", code, body)
	}
	// s1 has nothing but the log, which s2 makes doubtful.
	if r := c.nodes["s1"].is(events.ReplicaWaiting); !strings.Contains(r.Detail, "s2") {
		t.Errorf("it says %+v", r)
	}
	// A person takes s2 away for a moment, and s1 is believed.
	c.keep("s1")
	c.nodes["s1"].is(events.ReplicaReady)
	c.keep("s1*")
	c.insert(0, 10)
	c.keep("s1", "s2")
	n.is(events.ReplicaQuarantined)
	if d := n.state(0); d != old {
		t.Errorf("it holds %+v, not %+v", d, old)
	}
	c.keep("s1*", "s2")
	n.is(events.ReplicaReady)
	c.alike(c.insert(10, 20), 20, "s1", "s2")
	if _, err := os.Stat(filepath.Join(n.dir, "aside", "StudT.sh1.life1.3.gz")); err != nil {
		t.Error(err)
	}
}

func TestFill_ANewLogThatContinuesTheStateIsFollowed(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	for _, n := range c.nodes {
		n.is(events.ReplicaReady)
	}
	seq := c.insert(0, 30)
	at := c.nodes["s1"].state(seq).Position
	c.nodes["s2"].state(seq)
	c.must2(nil, c.conn.DeleteLog(t.Context(), c.log))
	c.log.Incarnation = "life2"
	c.must2(c.conn.CreateLog(t.Context(), c.log, at.Seq+1))
	c.route.Shards[0].Log = events.ShardLog{Shard: spec.Shard.ID, Incarnation: "life2", Made: true, Origin: &at}
	c.put()
	for _, n := range c.nodes {
		n.is(events.ReplicaReady)
	}
	testkit.Eventually(t, func() error {
		for _, n := range c.nodes {
			if r := n.replica(); r.Applied.Incarnation != "life2" {
				return fmt.Errorf("%s is %+v", n.name, r)
			}
		}
		return nil
	})
	next := c.insert(30, 60)
	if next != seq+3 {
		t.Errorf("it goes on at %d after %d", next, seq)
	}
	c.alike(next, 60, "s1", "s2")
	// One that is new cannot be made of this log alone.
	c.add("s3")
	c.keep("s3")
	c.nodes["s3"].is(events.ReplicaWaiting)
	c.keep("s1*", "s2*", "s3")
	c.nodes["s3"].is(events.ReplicaReady)
	c.alike(c.insert(60, 70), 70, "s1", "s3")
}

// However long it takes to erase what was there, no donor waits with a copy.
func TestFill_NoDonorWaitsForRoom(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	n, donor := c.nodes["s2"], c.nodes["s1"]
	c.keep("s1*", "s2*")
	n.is(events.ReplicaReady)
	n.state(c.insert(0, 50))
	n.stop()
	seq := c.insert(50, 200)
	donor.state(seq)
	if err := c.conn.Log(c.log).Purge(t.Context(), seq-2); err != nil {
		t.Fatal(err)
	}
	open := n.open
	n.open = func(ctx context.Context) (storage.Engine, string, error) {
		e, name, err := open(ctx)
		return &slowDrop{e, func() error {
			for wait := time.After(testkit.Patience); donor.giving.Load() > 0; {
				select {
				case <-wait:
					return errors.New("a donor waits with a copy")
				case <-time.After(time.Millisecond):
				}
			}
			donor.hold.Store(false)
			return nil
		}}, name, err
	}
	donor.hold.Store(true)
	n.tune = func(cfg *shard.Config) { cfg.Stalled = time.Hour }
	c.keep("s1*", "s2")
	n.start()
	n.is(events.ReplicaReady)
	c.alike(seq, 200, "s1", "s2")
	if donor.hold.Load() {
		t.Error("nothing was erased")
	}
}

// The error of an applier is of the moment when the applier ended. What the log agrees with by
// now is not erased for it.
func TestFill_WhatAgreesAfterAllIsKept(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	n := c.nodes["s2"]
	n.stop()
	open := n.open
	n.open = func(ctx context.Context) (storage.Engine, string, error) {
		e, name, err := open(ctx)
		return &slowDrop{e, func() error { t.Error("it is erased"); return errors.New("it shall not be") }}, name, err
	}
	n.tune = func(cfg *shard.Config) { cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour }
	n.start()
	c.keep("s1*", "s2*")
	history := func() {
		for i := range int64(3) {
			c.append(fmt.Sprint("b", i), shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(i), rowjson.Text("x")}}})
		}
	}
	history()
	n.state(3)
	c.nodes["s1"].state(3)
	c.keep("s1", "s2") // nobody could replace what it has
	c.must2(nil, c.conn.DeleteLog(t.Context(), c.log))
	c.must2(c.conn.CreateLog(t.Context(), c.log, 0))
	n.is(events.ReplicaQuarantined) // until somebody tries again
	c.conn = c.connect()            // the one of before would not write to a log that went back
	history()
	c.append("b3", shardlog.Op{Kind: shardlog.OpBarrier})
	c.nodes["s1"].state(4)
	c.nodes["s1"].is(events.ReplicaReady)
	c.keep("s1*", "s2")
	n.is(events.ReplicaReady)
	c.alike(4, 3, "s1", "s2")
}

// slowDrop waits before it drops.
type slowDrop struct {
	storage.Engine
	wait func() error
}

func (e *slowDrop) Drop(ctx context.Context, table, shard string) error {
	if err := e.wait(); err != nil {
		return err
	}
	return e.Engine.Drop(ctx, table, shard)
}

// A donor that is cut off in the middle leaves a replica that is filled anew.
func TestFill_BeginsAnewAfterACopyThatWasCutOff(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*")
	c.nodes["s1"].is(events.ReplicaReady)
	seq := c.insert(0, 600)
	n := c.nodes["s2"]
	n.cut.Store(2) // answers of the donor that end early
	n.restart(always)
	c.keep("s1*", "s2")
	n.is(events.ReplicaReady)
	c.alike(seq, 600, "s1", "s2")
	if left := n.cut.Load(); left > 0 {
		t.Errorf("%d copies were not cut off", left)
	}
}

func TestKeeper_HaltsAtWhatItCannotApplyAndSaysSo(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	n.state(c.insert(0, 10))
	c.must2(c.conn.Append(t.Context(), c.log, "rubbish", []byte("no batch")))
	if r := n.is(events.ReplicaHalted); r.Applied.Seq != 1 || !strings.Contains(r.Detail, "seq 2") {
		t.Errorf("it says %+v", r)
	}
	c.append("after", shardlog.Op{Kind: shardlog.OpBarrier})
	n.is(events.ReplicaHalted)
	if r := n.replica(); r.Applied.Seq != 1 {
		t.Errorf("it skipped: %+v", r)
	}
	c.must2(nil, c.conn.DeleteLog(t.Context(), c.log))
	testkit.Eventually(t, func() error {
		if r := n.replica(); r.State != events.ReplicaHalted || !strings.Contains(r.Detail, events.ErrLogMissing.Error()) || r.Cause != events.CauseLogMissing {
			return fmt.Errorf("it says %+v", r)
		}
		return nil
	})
}

// What a route says of others does not put off the next try.
func TestKeeper_TriesAgainWhileRoutesChange(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	var sick atomic.Bool
	var tries atomic.Int64
	n.stop()
	open := n.open
	n.open = func(ctx context.Context) (storage.Engine, string, error) {
		e, name, err := open(ctx)
		return &applyEngine{e, func() error {
			if !sick.Load() {
				return nil
			}
			tries.Add(1)
			return errors.New("sick, and it does not look as if that would pass")
		}}, name, err
	}
	n.start()
	c.keep("s1*")
	n.is(events.ReplicaReady)
	c.insert(0, 10)
	sick.Store(true)
	c.append("b", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(10), rowjson.Text("x")}}})
	n.is(events.ReplicaHalted)
	before := tries.Load()
	testkit.Eventually(t, func() error { // every some milliseconds
		c.put()
		if tries.Load() < before+3 {
			return fmt.Errorf("%d tries", tries.Load()-before)
		}
		return nil
	})
	sick.Store(false)
	n.is(events.ReplicaReady)
	c.alike(2, 11, "s1")
}

// A replica that has a transaction of the log before to end is not yet one of
// the new log.
func TestKeeper_AnswersForTheLogThatItHas(t *testing.T) {
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	begun, over := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(over) })
	var held atomic.Bool
	n.stop()
	open := n.open
	n.open = func(ctx context.Context) (storage.Engine, string, error) {
		e, name, err := open(ctx)
		return &applyEngine{e, func() error {
			if held.CompareAndSwap(true, false) {
				close(begun)
				<-over
			}
			return nil
		}}, name, err
	}
	n.start()
	t.Cleanup(release)
	c.keep("s1*")
	n.is(events.ReplicaReady)
	at := n.state(c.insert(0, 10)).Position
	held.Store(true)
	c.append("b", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(10), rowjson.Text("x")}}})
	<-begun
	next := c.log
	next.Incarnation = "life2"
	c.must2(nil, c.conn.DeleteLog(t.Context(), c.log))
	c.must2(c.conn.CreateLog(t.Context(), next, at.Seq+1))
	c.log = next
	c.route.Shards[0].Log = events.ShardLog{Shard: spec.Shard.ID, Incarnation: "life2", Made: true, Origin: &at}
	c.put()
	testkit.Eventually(t, func() error { // it has the route
		if code, body := call(t, "GET", n.url("rows?log=life2"), ""); code != 503 || !strings.Contains(body, "about to go on") {
			return fmt.Errorf("it answers %d %s", code, body)
		}
		return nil
	})
	release()
}

// applyEngine has something happen before each transaction.
type applyEngine struct {
	storage.Engine
	before func() error
}

func (e *applyEngine) Open(ctx context.Context, table, shard string) (storage.Store, error) {
	s, err := e.Engine.Open(ctx, table, shard)
	return &applyStore{s, e.before}, err
}

type applyStore struct {
	storage.Store
	before func() error
}

func (s *applyStore) Apply(ctx context.Context, from events.Position, entries []shardlog.Entry) ([]shardlog.Results, error) {
	if err := s.before(); err != nil {
		return nil, err
	}
	return s.Store.Apply(ctx, from, entries)
}

func TestKeeper_RefusesAReplicaOfAnotherSchema(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	c.insert(0, 10)
	c.route.Table.Schema.DTypes = []string{events.DTypeNumber, events.DTypeNumber}
	c.put()
	if r := n.is(events.ReplicaHalted); !strings.Contains(r.Detail, "not what the route says") {
		t.Errorf("it says %+v", r)
	}
	c.route.Table.Schema = spec.Schema
	c.put()
	n.is(events.ReplicaReady)
	c.alike(1, 10, "s1")
}
