package shard_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/replica"
)

// damagedCluster has a log that lost its seq 10. s1 has applied all, s2 the first 5.
func damagedCluster(t *testing.T) *cluster {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	for _, n := range c.nodes {
		n.is(events.ReplicaReady)
	}
	c.nodes["s2"].state(c.insert(0, 50))
	c.nodes["s2"].stop()
	c.insert(50, 90)
	c.append("damaged-batch", shardlog.Op{Kind: shardlog.OpBarrier})
	c.nodes["s1"].state(c.insert(90, 190))
	c.bus.Shutdown()
	c.bus.FlipBit(events.LogStream(spec.Table, spec.Shard.ID), "damaged-batch")
	c.bus.Start()
	testkit.Eventually(t, func() error {
		_, err := c.bucket.Get(t.Context(), events.TableKey(spec.Table))
		return err
	})
	return c
}

func TestFill_WhatTheLogLostIsCopied(t *testing.T) {
	c := damagedCluster(t)
	want := events.LogHole{From: 10, To: 10}
	c.keep("s2") // nobody is ready: it waits, and has what it has
	c.nodes["s2"].start()
	if r := c.nodes["s2"].is(events.ReplicaHalted); r.Applied.Seq != 9 || !strings.Contains(r.Detail, "seq 10 cannot be read") || r.Cause != events.CauseLogDamaged || r.Hole == nil || *r.Hole != want {
		t.Errorf("it says %+v", r)
	}
	c.keep("s1*", "s2")
	r := c.nodes["s2"].is(events.ReplicaReady)
	if r.Hole == nil || *r.Hole != want {
		t.Errorf("it says %+v", r)
	}
	c.add("s3") // which begins with the log
	c.keep("s1*", "s2*", "s3")
	c.nodes["s3"].is(events.ReplicaReady)
	c.alike(c.insert(190, 200), 200, "s1", "s2", "s3")
	if n := c.nodes["s1"].served.Load() + c.nodes["s2"].served.Load(); n > 10 { // for each whether it has better, and the copy; again if that breaks off
		t.Errorf("%d copies were taken", n)
	}
}

// purgedFor has whoever reads it believe that the log is purged. It is not.
type purgedFor struct {
	replica.Log
	reads *atomic.Int64
}

func (l purgedFor) Read(context.Context, events.Position, shardlog.BatchReader, func(uint64, time.Time, []byte, bool) error) error {
	l.reads.Add(1)
	return fmt.Errorf("read: %w", events.ErrLogPurged)
}

// A replica whose steps lead it nowhere takes them ever more slowly, whichever those
// are.
func TestReplica_PausesWhereItGoesInACircle(t *testing.T) {
	c := newCluster(t, "s1", "s2")
	c.keep("s1*", "s2*")
	n := c.nodes["s2"]
	n.is(events.ReplicaReady)
	n.state(c.insert(0, 50))
	n.stop()
	var reads atomic.Int64
	n.wrap = func(l replica.Log) replica.Log { return purgedFor{l, &reads} }
	c.keep("s1*", "s2")
	began := time.Now()
	n.start()
	const rounds = 10
	testkit.Eventually(t, func() error {
		if n := reads.Load(); n < rounds {
			return fmt.Errorf("%d rounds", n)
		}
		return nil
	})
	if took, least := time.Since(began), (rounds-4)*200*time.Millisecond; took < least { // RetryMax
		t.Errorf("%d rounds in %s, want no less than %s", rounds, took, least)
	}
	n.stop()
	n.wrap = nil
	n.start()
	n.is(events.ReplicaReady)
}

// What is no batch halts a shard. It takes nothing from what was applied before.
func TestReplica_IsReadWhereItHalted(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	seq := c.insert(0, 30)
	n.state(seq)
	c.must2(c.conn.Append(c.Context(), c.log, "foreign", []byte("hello?")))
	if r := n.is(events.ReplicaHalted); r.Applied.Seq != seq || !strings.Contains(r.Detail, fmt.Sprint("seq ", seq+1)) {
		t.Errorf("it says %+v", r)
	}
	read := func(min uint64) (int, string) {
		return call(t, "GET", n.url(fmt.Sprintf("rows?log=%s&floor=%d", c.log.Incarnation, min)), "")
	}
	testkit.Eventually(t, func() error { // it tries again now and then
		if code, body := read(seq); code != 200 || strings.Count(body, "\n") < 30 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := read(seq + 1); code != 503 {
		t.Errorf("what it has not applied: %d %s", code, body)
	}
}
