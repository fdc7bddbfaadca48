package replica

import (
	"context"
	"log/slog"
	"sync"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// digester answers the markers of a log with digests of the replica's state.
type digester struct {
	host *Host
	log  *slog.Logger
	key  Key
}

// mark holds a snapshot of the state at a marker of the log until the digest of it
// can be computed. The applier waits for the snapshot, so there is no waiting for a
// connection here.
func (d *digester) mark(ctx context.Context, work *sync.WaitGroup, batch string, store storage.Store) {
	if !d.host.digests.TryAcquire(1) {
		d.publish(shardlog.Digest{Batch: batch, Error: shardlog.DigestBusy})
		return
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		d.host.digests.Release(1)
		d.publish(shardlog.Digest{Batch: batch, Error: err.Error()})
		return
	}
	work.Go(func() {
		defer d.host.digests.Release(1)
		d.digest(ctx, batch, snapshot)
	})
}

// digest computes and publishes the digest of the state at a marker. A failure is
// not tried again: whoever wants the digest appends another marker.
func (d *digester) digest(ctx context.Context, batch string, snapshot storage.Snapshot) {
	defer snapshot.Close()
	if d.host.digest.Acquire(ctx, 1) != nil {
		return
	}
	defer d.host.digest.Release(1)
	result := shardlog.Digest{Batch: batch}
	var err error
	if result.State, err = state.Digest(ctx, snapshot); err != nil {
		result.Error = err.Error()
	}
	if ctx.Err() == nil {
		d.publish(result)
	}
}

func (d *digester) publish(result shardlog.Digest) {
	result.Server, result.Table, result.Shard = d.host.Server, d.key.Table, d.key.Shard
	if result.Error != "" {
		d.log.Warn("no digest", "batch", result.Batch, events.KeyError, result.Error)
	}
	if err := d.host.Bus.Publish(events.DigestSubject(d.key.Table, d.key.Shard), result); err != nil {
		d.log.Debug("digest not sent", "batch", result.Batch, events.KeyError, err)
	}
}
