package kv

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events/bus/link"
)

// Repair rids the bucket of records that the bus cannot read, and reports
// whether there were any. The bus leaves them out as long as it only reads, and
// stops writing to the bucket altogether when the first of them is to make room
// for a newer value. All that the bucket has is dropped therefore, and what
// can be read of its current values is stored again, each with a new version. A key
// whose current value cannot be read is gone or, with former, has the one before.
// What is stored meanwhile by another one stays.
func (b *Bucket) Repair(ctx context.Context, former bool) (damaged bool, err error) {
	fail := func(err error) (bool, error) { return damaged, fmt.Errorf("repair %s: %w", b.name, err) }
	b.stream.Forget()
	l, err := b.stream.Open(ctx)
	if err != nil {
		return fail(err)
	}
	state, read := l.Handle.CachedInfo().State, uint64(0)
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubject: b.subject(">"), HeadersOnly: true}
	err = b.read(ctx, l, cfg, func(jetstream.Msg, *jetstream.MsgMetadata) error { read++; return nil })
	if err != nil {
		return fail(err)
	}
	if damaged = read < state.Msgs; !damaged {
		return false, nil
	}
	b.conn.Log.Error("records cannot be read; the values that can are stored anew", "bucket", b.name, "lost", state.Msgs-read)
	policy := jetstream.DeliverLastPerSubjectPolicy
	if former {
		policy = jetstream.DeliverAllPolicy
	}
	all, err := b.newest(ctx, policy)
	if err != nil {
		return fail(err)
	}
	call, cancel, err := b.conn.Begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer cancel()
	if err := l.Handle.Purge(call, jetstream.WithPurgeSequence(state.LastSeq+1)); err != nil {
		return fail(link.Explained(call, err))
	}
	for _, e := range all {
		if e.Version.Revision > state.LastSeq {
			continue
		}
		if _, err := b.Create(ctx, e.Key, e.Value); err != nil {
			return fail(err)
		}
	}
	return true, nil
}
