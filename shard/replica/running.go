package replica

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"ringway/events"
	"ringway/shard/apply"
	"ringway/shard/rowcache"
	"ringway/shard/storage"
)

// Running is a replica that an applier keeps up to date, or kept until it could not
// go on. It can be read.
type Running struct {
	Store   storage.Store
	Rows    *rowcache.Rows
	applier *apply.Applier
	restart func()      // ends the applier; the manager then opens the replica again
	ended   atomic.Bool // the applier has: what it has applied can be read, and no more will come
}

// Applied is how far the replica has come.
func (r *Running) Applied() events.Position { return r.applier.Applied() }

// WaitApplied returns when the replica has applied a seq, or ctx ends.
func (r *Running) WaitApplied(ctx context.Context, seq uint64) error {
	if at := r.Applied().Seq; r.ended.Load() && at < seq {
		return events.StatusErrorf(http.StatusServiceUnavailable, "the replica halted at %d, not at %d", at, seq)
	}
	if err := r.applier.Wait(ctx, seq); err != nil {
		return fmt.Errorf("%w: %w", events.StatusErrorf(http.StatusServiceUnavailable, "the replica is at %d, not yet at %d", r.Applied().Seq, seq), err)
	}
	return nil
}

// RefuseRolledBack refuses an answer of a store that had applied more before it
// was asked: its database lost what it had not synced, and has to be opened
// again. As long as nothing is written, nobody else notices.
func (r *Running) RefuseRolledBack(before events.Position, seq uint64) error {
	if seq >= before.Seq {
		return nil
	}
	r.restart()
	return events.StatusErrorf(http.StatusServiceUnavailable, "the replica is at %d and was at %d: its database lost the rest", seq, before.Seq)
}
