package shard

import (
	"context"

	"ringway/events"
	"ringway/shard/state"
)

// digest says what the replica held at a marker. If it fails nobody tries
// again: who wants to know sets another marker.
func (k *keeper) digest(ctx context.Context, batch string, snapshot Snapshot, err error) {
	d := events.Digest{Server: k.s.cfg.ID, Table: k.key.table, Shard: k.key.shard, Batch: batch}
	if err == nil {
		if k.s.digests.take(ctx) {
			d.State, err = state.Digest(ctx, snapshot)
			k.s.digests.give()
		}
		_ = snapshot.Close() // what it held goes with its connection at the latest
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		k.say.Warn("no digest", "batch", batch, events.KeyError, err)
		d.Error = err.Error()
	}
	if err := k.s.bus.Publish(events.DigestSubject(k.key.table, k.key.shard), d); err != nil {
		k.say.Debug("digest not sent", "batch", batch, events.KeyError, err)
	}
}
