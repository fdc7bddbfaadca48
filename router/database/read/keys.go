package read

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ringway/router/database/catalog"
	"ringway/router/database/hedge"
	"ringway/router/database/shardclient"
)

var errNotReady = errors.New("no replica is ready")

// rowsOf are the rows of few keys, which shards hold.
func (r *Reader) rowsOf(ctx context.Context, shards []*catalog.Shard, minSeqs []uint64, low, high int64) ([][]byte, error) {
	if len(shards) == 1 {
		return r.get(ctx, shards[0], keysOf(shards[0], low, high), minSeqs[0])
	}
	rows := make([][][]byte, len(shards))
	errs := make([]error, len(shards))
	var gets sync.WaitGroup
	for i, s := range shards {
		gets.Go(func() { rows[i], errs[i] = r.get(ctx, s, keysOf(s, low, high), minSeqs[i]) })
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

// get reads rows by key, as clients see them, from the ring's choice among the
// replicas of a shard. Where that fails, or takes long, the next is asked too.
func (r *Reader) get(ctx context.Context, s *catalog.Shard, keys []int64, minSeq uint64) ([][]byte, error) {
	order := s.Choices(time.Now())
	if len(order) == 0 {
		return nil, fmt.Errorf("shard %s: %w", s.ID, errNotReady)
	}
	rows, _, err := hedge.First(ctx, order, hedge.Policy[*catalog.Replica, [][]byte]{
		After: r.hedge,
		Ask: func(ctx context.Context, from *catalog.Replica) ([][]byte, error) {
			return r.getFrom(ctx, s, from, keys, minSeq)
		},
		Slow:   r.slow,
		Failed: func(*catalog.Replica, error) { r.metrics.failed.WithLabelValues(s.Log.Table).Inc() },
	})
	switch {
	case err == nil:
		return rows, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("shard %s: no answer in time", s.ID)
	}
	return nil, fmt.Errorf("shard %s: %w", s.ID, err)
}

// slow makes the other replicas the first choices for a while.
func (r *Reader) slow(from *catalog.Replica) {
	from.Failed(time.Now())
	r.metrics.hedged.Inc()
}

// getFrom reads rows by key from one replica. The end of ctx ends only the wait:
// the request is that of other reads too.
func (r *Reader) getFrom(ctx context.Context, s *catalog.Shard, from *catalog.Replica, keys []int64, minSeq uint64) ([][]byte, error) {
	type result struct {
		rows [][]byte
		err  error
	}
	done := make(chan result, 1)
	r.metrics.mayWait(from, minSeq)
	shared := from.Client.Get(&shardclient.KeyRead{Log: s.Log, Schema: s.Schema, Keys: keys, MinSeq: minSeq, Done: func(rows [][]byte, seq uint64, err error) {
		if err == nil {
			from.Answered(seq)
			s.MinSeq.Raise(seq)
		} else {
			from.Failed(time.Now())
			err = fmt.Errorf("server %s: %w", from.Server, err)
		}
		done <- result{rows, err}
	}})
	if shared {
		r.metrics.shared.Inc()
	}
	select {
	case got := <-done:
		return got.rows, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
