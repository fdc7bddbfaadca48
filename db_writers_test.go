package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/lab/check"
)

// setWriters insert rows under keys that no other write has; some in groups of
// one request.
type setWriters struct {
	client *dbClient
	ops    atomic.Int64
	next   atomic.Int64 // key
	group  atomic.Int64

	mu       sync.Mutex
	writes   []check.Write
	open     []openWrite
	slowest  time.Duration
	surprise []string
}

// openWrite is one whose outcome can be asked for.
type openWrite struct {
	op   string
	keys []int64
}

// Every second one names its writes, and repeats those of unknown outcome.
func (s *setWriters) work(ctx context.Context) func(int) func() bool {
	return func(i int) func() bool { return func() bool { return s.one(ctx, i%2 == 1) } }
}

func (s *setWriters) one(ctx context.Context, named bool) bool {
	n := s.ops.Add(1)
	shard := int(n % dbShards)
	rows, group := 1, 0
	if n%9 == 0 {
		rows, group = 5, int(s.group.Add(1))
	}
	var writes []check.Write
	for range rows {
		key := int64(shard)*dbShardSize + s.next.Add(1)
		writes = append(writes, check.Write{Key: key, Value: "v" + strconv.FormatInt(key*7919, 36), Group: group})
	}
	begun := time.Now()
	var a answer
	if named {
		a = s.client.insertOnce(ctx, fmt.Sprint("write-", n), writes...)
	} else {
		a = s.client.insert(writes...)
	}
	s.note(writes, a, time.Since(begun))
	return a.outcome() == check.Acknowledged
}

// fill writes rows into the first shard, so many in each request.
func (s *setWriters) fill(t *testing.T, rows, part int) {
	t.Helper()
	w := newWork()
	var bad atomic.Value
	w.each(8, func(int) func() bool {
		return func() bool {
			last := s.next.Add(int64(part))
			if last > int64(rows) || bad.Load() != nil {
				w.stop()
				return true
			}
			writes := make([]check.Write, part)
			for i := range writes {
				key := last - int64(i)
				writes[i] = check.Write{Key: key, Value: fmt.Sprint("first ", key)}
			}
			a := s.client.insert(writes...)
			s.note(writes, a, 0)
			if a.outcome() != check.Acknowledged {
				bad.Store(a)
			}
			return true
		}
	})
	w.wg.Wait()
	w.stop()
	if a := bad.Load(); a != nil {
		t.Fatalf("fill: %+v", a)
	}
}

func (s *setWriters) note(writes []check.Write, a answer, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range writes {
		writes[i].Outcome = a.outcome()
	}
	s.writes = append(s.writes, writes...)
	if a.outcome() == check.Acknowledged {
		s.slowest = max(s.slowest, took)
	}
	if a.status >= 400 && a.status < 500 {
		s.surprise = append(s.surprise, fmt.Sprintf("%d %s", a.status, a.body))
	}
	if ops := a.ops(); a.outcome() == check.Unknown && len(ops) == 1 {
		w := openWrite{op: ops[0]}
		for _, r := range writes {
			w.keys = append(w.keys, r.Key)
		}
		s.open = append(s.open, w)
	}
}

// askOpen turns unknown outcomes into known ones where the router can tell.
func (s *setWriters) askOpen(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := map[int64]check.Outcome{}
	done, never := 0, 0
	for _, w := range s.open {
		var outcome check.Outcome
		_ = try(20*time.Second, func() error { // one that nobody can tell stays unknown
			if outcome = s.client.ask(w.op); outcome == check.Unknown {
				return fmt.Errorf("unknown still")
			}
			return nil
		})
		switch outcome {
		case check.Acknowledged:
			done++
		case check.Rejected:
			never++
		}
		for _, key := range w.keys {
			told[key] = outcome
		}
	}
	for i := range s.writes {
		if w := &s.writes[i]; w.Outcome == check.Unknown {
			w.Outcome = told[w.Key]
		}
	}
	if len(s.open) > 0 {
		t.Logf("%d unknown writes could be asked for: %d were done, %d were not", len(s.open), done, never)
	}
}

func (s *setWriters) check(t *testing.T, found map[int][]check.Replica, more func(key int64) bool) (faults []check.Fault) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	count := map[check.Outcome]int{}
	byShard := map[int][]check.Write{}
	for _, w := range s.writes {
		count[w.Outcome]++
		byShard[shardOf(w.Key)] = append(byShard[shardOf(w.Key)], w)
	}
	for i := range dbShards {
		var mine []check.Replica
		for _, r := range found[i] {
			kept := check.Replica{Name: r.Name}
			for _, row := range r.Rows {
				if more == nil || !more(row.Key) {
					kept.Rows = append(kept.Rows, row)
				}
			}
			mine = append(mine, kept)
		}
		faults = append(faults, check.Set(byShard[i], mine)...)
	}
	t.Logf("%d rows acknowledged, %d rejected, %d unknown; slowest %s", count[check.Acknowledged], count[check.Rejected], count[check.Unknown], s.slowest.Round(time.Millisecond))
	if count[check.Acknowledged] < 100 {
		t.Errorf("only %d rows were acknowledged: the test tests nothing", count[check.Acknowledged])
	}
	for _, what := range s.surprise[:min(3, len(s.surprise))] {
		t.Errorf("a new key was refused: %s", what)
	}
	return faults
}

// counters are keys with one writer each, at the upper end of the shards.
type counters struct {
	client *dbClient
	mu     sync.Mutex
	steps  map[int64][]check.Step
}

const firstCounter = dbShardSize - 1000 // within a shard; below are the set's

func counterKey(i int) int64 { return int64(i%dbShards)*dbShardSize + firstCounter + int64(i/dbShards) }

func isCounter(key int64) bool { return key%dbShardSize >= firstCounter }

// begin makes the counters, before there is harm.
func (c *counters) begin(t *testing.T, n int) {
	t.Helper()
	c.steps = map[int64][]check.Step{}
	for i := range n {
		if a := c.client.insert(check.Write{Key: counterKey(i), Value: "0"}); a.outcome() != check.Acknowledged {
			t.Fatalf("counter %d: %+v", i, a)
		}
		c.steps[counterKey(i)] = nil
	}
}

// work reads a counter, adds one and writes it back under a token of its own.
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

func (c *counters) check(t *testing.T, found map[int][]check.Replica) (faults []check.Fault) {
	t.Helper()
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
