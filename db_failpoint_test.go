package main

import (
	"slices"
	"testing"
	"time"
)

// Every process that comes to one of the points for the N-th time in its life
// dies there.
func TestDB_Failpoints(t *testing.T) {
	f := func(name, points string, during time.Duration) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDatabase(t, dbOptions{env: []string{"RINGWAY_FAIL=" + points}})
			before := processesOf(d.id)
			set, count := setTest(t, d, nil, during, time.Second)
			found := d.settled()
			set.askOpen(t)
			report(t, set.check(t, found, isCounter))
			report(t, count.check(t, found))
			after, died := processesOf(d.id), 0
			for _, p := range before {
				if !slices.Contains(after, p) {
					died++
				}
			}
			if died == 0 {
				t.Error("nobody died: the test tests nothing")
			}
			t.Logf("%d of %d processes have died at least once", died, len(before))
		})
	}
	f("commit", "before-commit:400,after-append:900", 6*time.Second)
	f("committed", "after-commit:300,purge:2,purged:3", 20*time.Second)
	f("result", "before-result:500", 6*time.Second)
}
