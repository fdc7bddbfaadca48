package shard

import (
	"context"
	"sync"

	"ringway/events"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// mark holds a snapshot of the state at a marker of the log until the digest of it
// can be computed. The applier waits for the snapshot, so there is no waiting for a
// connection here.
func (m *manager) mark(ctx context.Context, work *sync.WaitGroup, batch string, store storage.Store) {
	if !m.s.digests.tryAcquire() {
		m.publishDigest(events.Digest{Batch: batch, Error: events.DigestBusy})
		return
	}
	snapshot, err := store.Snapshot(ctx)
	if err != nil {
		m.s.digests.release()
		m.publishDigest(events.Digest{Batch: batch, Error: err.Error()})
		return
	}
	work.Go(func() {
		defer m.s.digests.release()
		m.digest(ctx, batch, snapshot)
	})
}

// digest computes and publishes the digest of the state at a marker. A failure is
// not tried again: whoever wants the digest appends another marker.
func (m *manager) digest(ctx context.Context, batch string, snapshot storage.Snapshot) {
	defer snapshot.Close()
	if !m.s.digest.acquire(ctx) {
		return
	}
	defer m.s.digest.release()
	d := events.Digest{Batch: batch}
	var err error
	if d.State, err = state.Digest(ctx, snapshot); err != nil {
		d.Error = err.Error()
	}
	if ctx.Err() == nil {
		m.publishDigest(d)
	}
}

func (m *manager) publishDigest(d events.Digest) {
	d.Server, d.Table, d.Shard = m.s.cfg.ID, m.key.table, m.key.shard
	if d.Error != "" {
		m.logger.Warn("no digest", "batch", d.Batch, events.KeyError, d.Error)
	}
	if err := m.s.bus.Publish(events.DigestSubject(m.key.table, m.key.shard), d); err != nil {
		m.logger.Debug("digest not sent", "batch", d.Batch, events.KeyError, err)
	}
}
