// Package writers writes to a table over the course's API and remembers what
// the answers: rows under keys that nobody else writes, and counters with one
// writer each. When the writing is over, the checkers of e2e/check decide
// whether what the replicas hold agrees with that.
//
// It is for tests of whole clusters, however they run. It knows nothing of
// them but the address of a router, and how the keys are cut into shards. A
// Client, a Set and Counters may be used by any number of goroutines.
package writers

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringway/e2e/check"
	"ringway/events"
)

// Table is where keys lie: shard i keeps those from i·Size up to the next.
type Table struct {
	Shards int
	Size   int64 // over 1,000, which are for counters
}

// Schema is what every table of this package has for columns.
func (t Table) Schema() events.Schema {
	return events.Schema{
		Columns: []string{"Stud_id", "Stud_name", "Stud_marks"},
		DTypes:  []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
	}
}

// Events are the table's shards as the contract has them.
func (t Table) Events() []events.Shard {
	shards := make([]events.Shard, t.Shards)
	for i := range shards {
		shards[i] = events.Shard{ID: t.Shard(i), Low: int64(i) * t.Size, Size: t.Size}
	}
	return shards
}

// Shard is the name of shard i.
func (t Table) Shard(i int) string { return fmt.Sprintf("sh%d", i+1) }

// ShardOf is the number of the shard that keeps a key.
func (t Table) ShardOf(key int64) int { return int(key / t.Size) }

// IsCounter distinguishes the keys of Counters, at the upper end of each shard,
// from those of a Set.
func (t Table) IsCounter(key int64) bool { return key%t.Size >= t.firstCounter() }

func (t Table) firstCounter() int64 { return t.Size - 1000 }

func (t Table) counter(i int) int64 {
	return int64(i%t.Shards)*t.Size + t.firstCounter() + int64(i/t.Shards)
}

// Each starts n clients, each of which does one thing after another until ctx
// ends; wg counts them. What fails is not tried again at once.
func Each(ctx context.Context, wg *sync.WaitGroup, n int, client func(i int) (once func() (good bool))) {
	for i := range n {
		once := client(i)
		wg.Go(func() {
			for ctx.Err() == nil {
				if !once() {
					Wait(ctx, 20*time.Millisecond)
				}
			}
		})
	}
}

// Wait returns after d, or when ctx ends.
func Wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Report fails the test for faults.
func Report(t testing.TB, faults []check.Fault) {
	t.Helper()
	if len(faults) == 0 {
		return
	}
	t.Errorf("%s", check.Count(faults))
	for _, f := range faults[:min(10, len(faults))] {
		t.Errorf("%s", f)
	}
}
