package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// A bit flips on the disk of a bus that is stopped. What the log lost is told from
// what was purged, to whoever reads into it: by where it is.
func TestLog_WhatItLostIsAHole(t *testing.T) {
	const last = 20
	patient := func(cfg *bus.Config) { cfg.Timeout = 30 * time.Second } // a starved machine reads the larger log for seconds
	f := func(name string, size int, killed bool, damaged uint64, want events.LogHole) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := testkit.Context(t)
			srv := testkit.StartBus(t)
			l := createLog(t, testkit.Connect(t, srv.URL(), patient), theLog)
			for i := 1; i <= last; i++ {
				id := fmt.Sprintf("batch-%d-", i)
				if _, err := l.Append(ctx, id, append(batchOf(id), strings.Repeat(" ", size)...)); err != nil {
					t.Fatal(err)
				}
			}
			if killed {
				srv.ShutdownAsIfKilled()
			} else {
				srv.Shutdown()
			}
			srv.FlipBit(events.LogStream(theLog.Table, theLog.Shard), fmt.Sprintf("batch-%d-", damaged))
			srv.Start()
			from := events.Position{Incarnation: theLog.Incarnation, Seq: 2, Batch: "batch-2-"}
			for _, batches := range []shardlog.BatchReader{nil, wantBatches()} {
				reached := from.Seq
				err := l.Read(ctx, from, batches, func(seq uint64, _ time.Time, _ []byte, _ bool) error {
					reached = seq
					return nil
				})
				var hole *events.LogHole
				if !errors.As(err, &hole) || *hole != want || reached != want.From-1 || errors.Is(err, events.ErrLogPurged) {
					t.Fatalf("read until %d, then %v; want %v", reached, err, &want)
				}
			}
			if hole, err := l.Hole(ctx, want.From); err != nil || hole == nil || *hole != want {
				t.Errorf("the hole is %v, %v", hole, err)
			}
			for _, seq := range []uint64{1, want.From - 1, want.To + 1, last + 1, last + 10} {
				if hole, err := l.Hole(ctx, seq); hole != nil || err != nil {
					t.Errorf("at %d: %v, %v", seq, hole, err)
				}
			}
			if err := l.Purge(ctx, want.To+1); err != nil {
				t.Fatal(err)
			}
			if hole, err := l.Hole(ctx, want.From); hole != nil || err != nil {
				t.Errorf("purged: %v, %v", hole, err)
			}
			wantErr(t, l.Read(ctx, from, nil, nil), events.ErrLogPurged)
		})
	}
	f("stopped", 100, false, 8, events.LogHole{From: 8, To: 8})
	f("stopped, the newest", 100, false, last, events.LogHole{From: last, To: last})
	f("killed", 950_000, true, 3, events.LogHole{From: 3, To: 8}) // the rest of its block
}
