package read

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ringway/router/database/catalog"
	"ringway/router/database/shardclient"
)

var errNotReady = errors.New("no replica is ready")

// rowsOf are the rows of few keys, which shards hold.
func (r *Reader) rowsOf(until time.Time, shards []*catalog.Shard, minSeqs []uint64, low, high int64) ([][]byte, error) {
	if len(shards) == 1 {
		return r.get(until, shards[0], keysOf(shards[0], low, high), minSeqs[0])
	}
	rows := make([][][]byte, len(shards))
	errs := make([]error, len(shards))
	var gets sync.WaitGroup
	for i, s := range shards {
		gets.Go(func() { rows[i], errs[i] = r.get(until, s, keysOf(s, low, high), minSeqs[i]) })
	}
	gets.Wait()
	return slices.Concat(rows...), errors.Join(errs...)
}

// keysOf are those from low to high that s holds.
func keysOf(s *catalog.Shard, low, high int64) []int64 {
	low, high = max(low, s.Low), min(high, s.High())
	keys := make([]int64, high-low+1)
	for i := range keys {
		keys[i] = low + int64(i)
	}
	return keys
}

type keyResult struct {
	rows [][]byte // those that are there, in the order of keys
	err  error
}

// get reads rows by key, as clients see them, from the ring's choice among the
// replicas of a shard. Where that fails, or takes longer than r.hedge, the next
// is asked too, and the first answer counts.
func (r *Reader) get(until time.Time, s *catalog.Shard, keys []int64, minSeq uint64) ([][]byte, error) {
	order := s.Choices(time.Now())
	answers := make(chan keyResult, len(order))
	next, open, failed := 0, 0, errNotReady
	ask := func() {
		if next < len(order) {
			r.ask(s, order[next], keys, minSeq, answers)
			next, open = next+1, open+1
		}
	}
	late := r.late.Get().(*time.Timer)
	late.Reset(r.hedge)
	defer func() {
		late.Stop()
		r.late.Put(late)
	}()
	for ask(); open > 0; {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.rows, nil
			}
			open, failed = open-1, a.err
			r.metrics.failed.WithLabelValues(s.Log.Table).Inc()
			ask()
		case now := <-late.C:
			if now.After(until) {
				return nil, fmt.Errorf("shard %s: no answer in time", s.ID)
			}
			late.Reset(r.hedge)
			if next < len(order) {
				order[next-1].Failed(now)
				r.metrics.hedged.Inc()
			}
			ask()
		}
	}
	return nil, fmt.Errorf("shard %s: %w", s.ID, failed)
}

// ask reads rows from one replica.
func (r *Reader) ask(s *catalog.Shard, from *catalog.Replica, keys []int64, minSeq uint64, answers chan<- keyResult) {
	r.metrics.mayWait(from, minSeq)
	shared := from.Client.Get(&shardclient.KeyRead{Log: s.Log, Schema: s.Schema, Keys: keys, MinSeq: minSeq, Done: func(rows [][]byte, seq uint64, err error) {
		if err == nil {
			from.Answered(seq)
			s.MinSeq.Raise(seq)
		} else {
			from.Failed(time.Now())
			err = fmt.Errorf("server %s: %w", from.Server, err)
		}
		answers <- keyResult{rows, err}
	}})
	if shared {
		r.metrics.shared.Inc()
	}
}
