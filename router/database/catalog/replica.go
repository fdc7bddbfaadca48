package catalog

import (
	"context"
	"sync/atomic"
	"time"

	"ringway/router/database/shardclient"
)

// Replica is one copy of a shard as this router knows it. It outlives changes
// of the route for as long as the log, the server and its address stay.
type Replica struct {
	Server string
	Client *shardclient.Client

	avoidFor time.Duration
	seen     atomic.Uint64 // the largest seq that it is known to have applied
	avoid    atomic.Int64  // until when it is no first choice, unix ns
	failures atomic.Int32  // in a row
}

// MayWait reports whether a read of minSeq may have to wait for the replica.
func (r *Replica) MayWait(minSeq uint64) bool { return r.seen.Load() < minSeq }

// Answered notes that the replica has applied seq.
func (r *Replica) Answered(seq uint64) {
	raise(&r.seen, seq)
	r.failures.Store(0)
}

// Failed makes the replica a late choice for a while, the longer the more often
// in a row it failed: each try of one that hangs delays a read. Requests that were
// in flight together fail together, and count as one.
func (r *Replica) Failed(now time.Time) {
	until := r.avoid.Load()
	if until > now.UnixNano() {
		return
	}
	if r.avoid.CompareAndSwap(until, now.Add(r.avoidFor<<min(r.failures.Load(), 4)).UnixNano()) {
		r.failures.Add(1)
	}
}

// Wait returns when the replica of s has applied minSeq.
func (r *Replica) Wait(ctx context.Context, s *Shard, minSeq uint64) error {
	seq, err := r.Client.Wait(ctx, s.Log, s.Schema, s.Low, minSeq)
	if err == nil {
		r.Answered(seq)
		s.MinSeq.Raise(seq)
	}
	return err
}
