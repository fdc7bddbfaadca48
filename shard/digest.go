package shard

import (
	"context"
	"sync"

	"ringway/events"
	"ringway/shard/state"
)

// mark holds the state at a marker of the log until it is its turn to be read.
// The applier waits for it, so it takes no connection that may not be there.
func (k *keeper) mark(ctx context.Context, work *sync.WaitGroup, batch string, store Store) {
	if !k.s.digests.try() {
		k.tellDigest(events.Digest{Batch: batch, Error: events.DigestBusy})
		return
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		k.s.digests.give()
		k.tellDigest(events.Digest{Batch: batch, Error: err.Error()})
		return
	}
	work.Go(func() {
		defer k.s.digests.give()
		k.digest(ctx, batch, snapshot)
	})
}

// digest says what the replica held at a marker. If it fails nobody tries
// again: who wants to know sets another marker.
func (k *keeper) digest(ctx context.Context, batch string, snapshot Snapshot) {
	defer snapshot.Close()
	if !k.s.digest.take(ctx) {
		return
	}
	defer k.s.digest.give()
	d := events.Digest{Batch: batch}
	var err error
	if d.State, err = state.Digest(ctx, snapshot); err != nil {
		d.Error = err.Error()
	}
	if ctx.Err() == nil {
		k.tellDigest(d)
	}
}

func (k *keeper) tellDigest(d events.Digest) {
	d.Server, d.Table, d.Shard = k.s.cfg.ID, k.key.table, k.key.shard
	if d.Error != "" {
		k.say.Warn("no digest", "batch", d.Batch, events.KeyError, d.Error)
	}
	if err := k.s.bus.Publish(events.DigestSubject(k.key.table, k.key.shard), d); err != nil {
		k.say.Debug("digest not sent", "batch", d.Batch, events.KeyError, err)
	}
}
