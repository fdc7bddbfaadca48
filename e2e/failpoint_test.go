package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
	"ringway/internal/testkit"
)

// nearPurge is so many entries of a log that some hundred more make it worth a
// purge.
const nearPurge = 1700

// lengthen puts n barriers at the end of each log, which is sooner done than n
// writes.
func (d *faultDB) lengthen(n int) {
	d.t.Helper()
	lines, err := d.shards()
	if err != nil {
		d.t.Fatal(err)
	}
	conn, err := d.connect()
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	failed := make(chan error, len(lines))
	for _, s := range lines {
		go func() {
			log := conn.Log(events.LogID{Table: s.Table, Shard: s.Shard, Incarnation: s.Incarnation})
			b := shardlog.Batch{Writer: "nobody", Table: s.Table, Shard: s.Shard, Ops: []shardlog.Op{{Kind: shardlog.OpBarrier}}}
			for i := range n {
				b.ID = fmt.Sprintf("lengthen-%s-%d", s.Shard, i)
				data, err := json.Marshal(b)
				if err == nil {
					_, err = log.Append(ctx, b.ID, data)
				}
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range lines {
		if err := <-failed; err != nil {
			d.t.Fatal(err)
		}
	}
}

// Every process that comes to one of the points for the N-th time in its life
// dies there. The test goes on until one of each role has.
func TestDB_Failpoints(t *testing.T) {
	t.Parallel()
	f := func(name, engine, points string, barriers int, roles ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine, env: []string{failpoint.Variable + "=" + points}})
			before := processesOf(d.id)
			died := func() (which []string) {
				after := processesOf(d.id)
				for _, p := range before {
					if !slices.Contains(after, p) {
						which = append(which, strings.Fields(p)[2])
					}
				}
				return which
			}
			early := &setWriters{client: newDBClient(func() string { return d.http })}
			early.startAt(firstRegister) // keys that the set does not come to
			if barriers > 0 {
				w := newWork()
				w.each(8, func(int) func() bool { // unnamed: the set has all names
					return func() bool { return early.one(w.ctx, false) }
				})
				testkit.Eventually(t, func() error {
					if n := len(early.all()); n < 300 {
						return fmt.Errorf("%d rows are written", n)
					}
					return nil
				})
				w.end()
				d.lengthen(barriers)
			}
			set, count := setTest(t, d, d.url, nil, 3*time.Minute, time.Second, func() bool { return containsAll(died(), roles) })
			found := d.settled()
			set.askOpen(t)
			report(t, set.check(t, found, isRegister))
			if barriers > 0 {
				report(t, early.check(t, found, func(key int64) bool { return !isRegister(key) || isCounter(key) }))
			}
			report(t, count.check(t, found))
			if !containsAll(died(), roles) {
				t.Errorf("of %q only %q died: the test tests less than it should", roles, died())
			}
		})
	}
	f("commit", "sqlite", "before-commit:400,after-append:900", 0, "shard", "router")
	f("commit-mysql", "mysql", "before-commit:400,after-append:900", 0, "shard", "router")
	f("committed", "sqlite", "after-commit:500", 0, "shard")
	f("result", "sqlite", "before-result:500", 0, "shard")
	f("purge", "sqlite", "purge:3,purged:5", nearPurge, "controller")
	if rounds(1, 2) > 1 {
		f("purged", "sqlite", "purged", nearPurge, "controller")
	}
}
