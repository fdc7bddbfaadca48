package writers

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ringway/e2e/check"
)

// Counters are keys with one writer each, at the upper end of the shards. The
// zero value has none; Begin makes them.
type Counters struct {
	mu    sync.Mutex
	steps map[int64][]check.Step
}

// Begin makes n counters, before there is harm.
func (c *Counters) Begin(t testing.TB, client *Client, n int) {
	t.Helper()
	c.steps = map[int64][]check.Step{}
	for i := range n {
		key := client.Table.counter(i)
		if a := client.Insert(check.Write{Key: key, Value: "0"}); a.Outcome() != check.Acknowledged {
			t.Fatalf("counter %d: %+v", i, a)
		}
		c.steps[key] = nil
	}
}

// Work is for Each, with as many clients as there are counters: it reads one,
// adds one and writes it back under a token of its own.
func (c *Counters) Work(client *Client) func(i int) func() bool {
	return func(i int) func() bool {
		key, attempt := client.Table.counter(i), 0
		note := func(s check.Step) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.steps[key] = append(c.steps[key], s)
		}
		return func() bool {
			value, err := client.Get(key, ByDefault)
			if err != nil {
				return false
			}
			note(check.Step{Read: true, Value: value, Outcome: check.Acknowledged})
			number, _, _ := strings.Cut(value, "/")
			n, _ := strconv.Atoi(number) // what is no number the checker sees
			attempt++
			next := fmt.Sprintf("%d/%d", n+1, attempt)
			outcome := client.Update(key, next).Outcome()
			note(check.Step{Value: next, Outcome: outcome})
			return outcome == check.Acknowledged
		}
	}
}

// Check judges what the replicas of each shard hold.
func (c *Counters) Check(t testing.TB, table Table, found map[int][]check.Replica) (faults []check.Fault) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	updates := 0
	for key, steps := range c.steps {
		for _, s := range steps {
			if !s.Read && s.Outcome == check.Acknowledged {
				updates++
			}
		}
		faults = append(faults, check.Counter(key, "0", steps, found[table.ShardOf(key)])...)
	}
	t.Logf("%d counters, %d acknowledged updates", len(c.steps), updates)
	return faults
}
