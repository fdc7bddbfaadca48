package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ringway/e2e/check"
)

// counters are keys with one writer each, at the upper end of the shards. The
// zero value has none; begin makes them.
type counters struct {
	client *dbClient
	mu     sync.Mutex
	steps  map[int64][]check.Step
}

// begin makes n counters, before there is harm.
func (c *counters) begin(t *testing.T, n int) {
	t.Helper()
	c.steps = map[int64][]check.Step{}
	for i := range n {
		key := counterKey(i)
		if a := c.client.insert(check.Write{Key: key, Value: "0"}); a.outcome() != check.Acknowledged {
			t.Fatalf("counter %d: %+v", i, a)
		}
		c.steps[key] = nil
	}
}

// work is for as many clients as there are counters: each reads one, adds one
// and writes it back under a token of its own.
func (c *counters) work(i int) func() bool {
	key, attempt := counterKey(i), 0
	note := func(s check.Step) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.steps[key] = append(c.steps[key], s)
	}
	return func() bool {
		value, err := c.client.get(key, byDefault)
		if err != nil {
			return false
		}
		note(check.Step{Read: true, Value: value, Outcome: check.Acknowledged})
		number, _, _ := strings.Cut(value, "/")
		n, _ := strconv.Atoi(number) // what is no number the checker sees
		attempt++
		next := fmt.Sprintf("%d/%d", n+1, attempt)
		outcome := c.client.update(key, next).outcome()
		note(check.Step{Value: next, Outcome: outcome})
		return outcome == check.Acknowledged
	}
}

// check judges what the replicas of each shard hold.
func (c *counters) check(t *testing.T, found map[int][]check.Replica) (faults []check.Fault) {
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
		faults = append(faults, check.Counter(key, "0", steps, found[shardOf(key)])...)
	}
	t.Logf("%d counters, %d acknowledged updates", len(c.steps), updates)
	return faults
}

// report fails the test for faults.
func report(t *testing.T, faults []check.Fault) {
	t.Helper()
	if len(faults) == 0 {
		return
	}
	t.Errorf("%s", check.Count(faults))
	for _, f := range faults[:min(10, len(faults))] {
		t.Errorf("%s", f)
	}
}
