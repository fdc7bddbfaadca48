package kv

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
)

// Values are those of a bucket that is opened each time it is watched: before
// there is a bus, and again when it began a new life.
type Values struct {
	buckets *Buckets
	name    string
}

// Values returns the values of a bucket. It sends nothing to the bus.
func (c *Buckets) Values(bucket string) Values { return Values{c, bucket} }

// Watch opens the bucket and is its Watch.
func (v Values) Watch(ctx context.Context, filter string, fn func(events.Entry)) error {
	b, err := v.buckets.Bucket(ctx, v.name)
	if err != nil {
		return err
	}
	return b.Watch(ctx, filter, fn)
}

// Watch calls fn for all current values whose key matches filter and then for
// every change, one at a time, until ctx ends; then it returns nil. An empty
// filter matches all keys; NATS's wildcards work.
//
// After every reconnect it delivers all current values again, and a deletion
// for each key that it delivered before and that is gone, with the newest
// revision of the bucket. A bucket that came back with another life is
// followed into it. A value that expires by age is not reported.
func (b *Bucket) Watch(ctx context.Context, filter string, fn func(events.Entry)) error {
	if filter == "" {
		filter = ">"
	}
	if err := validKey(strings.NewReplacer("*", "x", ">", "x").Replace(filter)); err != nil {
		return fmt.Errorf("watch %s: filter: %w", b.name, err)
	}
	w := &watch{bucket: b, filter: filter, fn: fn, known: map[string]bool{}}
	for attempt := 1; ; attempt++ {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if b.conn.NATS.IsClosed() {
			return fmt.Errorf("watch %s: %w", b.name, nats.ErrConnectionClosed)
		}
		if w.progress {
			attempt = 1
		}
		level := b.conn.Log.Debug
		if attempt == 5 {
			level = b.conn.Log.Warn
		}
		level("watch opens again", "bucket", b.name, events.KeyError, err)
		if !link.Pause(ctx, attempt) {
			return nil
		}
	}
}

// watch is the state of one Watch that outlives its consumers.
type watch struct {
	bucket   *Bucket
	filter   string
	fn       func(events.Entry)
	known    map[string]bool // keys delivered with a value
	progress bool            // the last consumer got as far as the changes
}

// once watches through one consumer.
func (w *watch) once(ctx context.Context) error {
	w.progress = false
	line, err := w.bucket.conn.Online(ctx)
	if err != nil {
		return err
	}
	ctx, drop := link.Joined(ctx, line)
	defer drop()
	w.bucket.stream.Forget()
	l, err := w.bucket.stream.Open(ctx)
	if err != nil {
		return err
	}
	newest := l.Handle.CachedInfo().State.LastSeq
	seen := map[string]bool{}
	each := func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		w.deliver(w.bucket.entry(l, m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream), seen)
		return nil
	}
	current := func() error {
		w.progress = true
		for _, key := range slices.Sorted(maps.Keys(w.known)) {
			if !seen[key] {
				w.deliver(events.Entry{Key: key, Version: events.Version{Incarnation: l.Incarnation, Revision: newest}}, seen)
			}
		}
		return nil
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: w.bucket.subject(w.filter)}
	return w.bucket.conn.Tail(ctx, l.Handle, cfg, each, current)
}

// deliver leaves out deletions of keys that fn never had.
func (w *watch) deliver(e events.Entry, seen map[string]bool) {
	seen[e.Key] = true
	if e.Deleted() && !w.known[e.Key] {
		return
	}
	if e.Deleted() {
		delete(w.known, e.Key)
	} else {
		w.known[e.Key] = true
	}
	w.fn(e)
}
