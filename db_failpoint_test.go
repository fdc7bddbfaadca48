package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

// Every process that comes to one of the points for the N-th time in its life
// dies there. The test goes on until one of each role has.
func TestDB_Failpoints(t *testing.T) {
	t.Parallel()
	f := func(name, engine, points string, roles ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{engine: engine, env: []string{events.FailVariable + "=" + points}})
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
			set, count := setTest(t, d, nil, 3*time.Minute, time.Second, func() bool { return containsAll(died(), roles) })
			found := d.settled()
			set.askOpen(t)
			report(t, set.check(t, found, isCounter))
			report(t, count.check(t, found))
			if !containsAll(died(), roles) {
				t.Errorf("of %q only %q died: the test tests less than it says", roles, died())
			}
		})
	}
	f("commit", "sqlite", "before-commit:400,after-append:900", "shard", "router")
	f("commit-mysql", "mysql", "before-commit:400,after-append:900", "shard", "router")
	f("committed", "sqlite", "after-commit:500", "shard")
	f("result", "sqlite", "before-result:500", "shard")
	f("purge", "sqlite", "purge:3,purged:5", "controller")
	if rounds(1, 2) > 1 {
		f("purged", "sqlite", "purged", "controller")
	}
}
