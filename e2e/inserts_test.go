package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/e2e/check"
)

// setWriters insert rows under keys that no other write has, some in groups of
// one request, and remember what became of them. When the writing is over, check
// decides whether what the replicas hold agrees with that.
type setWriters struct {
	client *dbClient

	ops   atomic.Int64
	next  atomic.Int64 // key
	group atomic.Int64

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

// startAt has the keys begin at n of each shard, for two sets of one table;
// before there is work.
func (s *setWriters) startAt(n int64) { s.next.Store(n) }

// work is for any number of clients. Every second one names its writes, and
// repeats those of unknown outcome.
func (s *setWriters) work(ctx context.Context) func(i int) func() bool {
	return func(i int) func() bool { return func() bool { return s.one(ctx, i%2 == 1) } }
}

// one makes one request, named or not, and reports whether it was
// acknowledged.
func (s *setWriters) one(ctx context.Context, named bool) bool {
	n := s.ops.Add(1)
	shard := n % dbShards
	rows, group := 1, 0
	if n%9 == 0 {
		rows, group = 5, int(s.group.Add(1))
	}
	var writes []check.Write
	for range rows {
		key := shard*dbShardSize + s.next.Add(1)
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

// fill writes rows into the first shard, so many in each request, before there
// is harm.
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
	if a.Status >= 400 && a.Status < 500 {
		s.surprise = append(s.surprise, fmt.Sprintf("%d %s", a.Status, a.Body))
	}
	if ops := a.ops(); a.outcome() == check.Unknown && len(ops) == 1 {
		w := openWrite{op: ops[0]}
		for _, r := range writes {
			w.keys = append(w.keys, r.Key)
		}
		s.open = append(s.open, w)
	}
}

// all are the writes that were made so far, with their outcomes.
func (s *setWriters) all() []check.Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// askOpen turns unknown outcomes into known ones where the router knows them
// soon: what a router that is gone had made stays open for longer.
func (s *setWriters) askOpen(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[int64]check.Outcome{}
	count := map[check.Outcome]int{}
	open := slices.Clone(s.open)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(askPatience); len(open) > 0 && time.Now().Before(deadline); <-tick.C {
		open = slices.DeleteFunc(open, func(w openWrite) bool {
			outcome := s.client.ask(w.op)
			count[outcome]++
			for _, key := range w.keys {
				known[key] = outcome
			}
			return outcome != check.Unknown
		})
	}
	for i := range s.writes {
		if w := &s.writes[i]; w.Outcome == check.Unknown {
			w.Outcome = known[w.Key]
		}
	}
	if len(s.open) > 0 {
		t.Logf("%d unknown writes could be asked for: %d were done, %d were not", len(s.open), count[check.Acknowledged], count[check.Rejected])
	}
}

const askPatience = 10 * time.Second

// check judges what the replicas of each shard hold. Keys of which other reports
// so are somebody else's.
func (s *setWriters) check(t *testing.T, found map[int][]check.Replica, other func(key int64) bool) (faults []check.Fault) {
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
				if other == nil || !other(row.Key) {
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
