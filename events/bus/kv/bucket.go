// Package kv is the key/value buckets of the bus.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
)

// Buckets are those of one connection.
type Buckets struct{ conn *link.Conn }

// New returns the buckets of a connection.
func New(conn *link.Conn) *Buckets { return &Buckets{conn} }

// Bucket is a key/value bucket. Deciding by the result of Create, Update or
// Delete is safe; what Get, Entries and Watch return may be old.
type Bucket struct {
	conn   *link.Conn
	name   string
	stream *link.Stream
}

// Bucket opens a bucket as it is now, and creates it with our settings when it
// is missing. It waits for a bus that is away until ctx ends.
func (c *Buckets) Bucket(ctx context.Context, name string) (*Bucket, error) {
	b := &Bucket{conn: c.conn, name: name, stream: c.conn.Stream(bucketConfig(c.conn, name))}
	b.stream.Forget() // another may have begun a life of it
	if _, err := b.stream.Await(ctx); err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return b, nil
}

// Incarnation is the id of the bucket's present life, as last seen.
func (b *Bucket) Incarnation() string {
	return b.stream.Last().Incarnation
}

// BeginAnew gives the bucket, which was found to be an older copy of itself, a
// new life with the values that it has: all versions of before are foreign to
// it. It does nothing if the life that was seen last is over already. Whoever
// watches the bucket learns of the new life when it watches anew.
func (b *Bucket) BeginAnew(ctx context.Context, why events.Rollback) error {
	note, err := json.Marshal(why)
	if err == nil {
		err = b.stream.BeginAnew(ctx, string(note))
	}
	if err != nil {
		return fmt.Errorf("begin a new life of %s: %w", b.name, err)
	}
	return nil
}

// Rollback is why the present life, as last seen, began with the values of an
// older one; nil if it began with none.
func (b *Bucket) Rollback() *events.Rollback {
	var why events.Rollback
	note := b.stream.Last().Handle.CachedInfo().Config.Metadata[link.RollbackKey]
	if note == "" || json.Unmarshal([]byte(note), &why) != nil {
		return nil
	}
	return &why
}

// Entries are all current values, sorted by key.
func (b *Bucket) Entries(ctx context.Context) ([]events.Entry, error) {
	all, err := b.newest(ctx, jetstream.DeliverLastPerSubjectPolicy)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", b.name, err)
	}
	return all, nil
}

// newest are the newest values of all keys among those that a policy delivers.
func (b *Bucket) newest(ctx context.Context, policy jetstream.DeliverPolicy) ([]events.Entry, error) {
	newest := map[string]events.Entry{} // one that changes meanwhile comes twice
	err := b.each(ctx, policy, ">", func(e events.Entry) {
		if newest[e.Key] = e; e.Deleted() {
			delete(newest, e.Key)
		}
	})
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b events.Entry) int { return strings.Compare(a.Key, b.Key) }), nil
}

// Former are the values that the bucket still keeps of key, newest first. The
// current one is among them.
func (b *Bucket) Former(ctx context.Context, key string) ([]events.Entry, error) {
	err := validKey(key)
	var all []events.Entry
	if err == nil {
		err = b.each(ctx, jetstream.DeliverAllPolicy, key, func(e events.Entry) { all = append(all, e) })
	}
	if err != nil {
		return nil, fmt.Errorf("former values of %s in %s: %w", key, b.name, err)
	}
	slices.Reverse(all)
	return all, nil
}

// each calls fn for what the bucket keeps now of some keys, the oldest first.
func (b *Bucket) each(ctx context.Context, policy jetstream.DeliverPolicy, keys string, fn func(events.Entry)) error {
	l, err := b.stream.Open(ctx)
	if err != nil {
		return err
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: policy, FilterSubject: b.subject(keys)}
	return b.read(ctx, l, cfg, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		fn(b.entry(l, m.Subject(), m.Headers(), m.Data(), meta.Sequence.Stream))
		return nil
	})
}

// read passes what the bucket has now to one.
func (b *Bucket) read(ctx context.Context, l *link.Life, cfg jetstream.ConsumerConfig, one func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	ctx, cancel, err := b.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	complete := errors.New("complete")
	if err := b.conn.Tail(ctx, l.Handle, cfg, one, func() error { return complete }); !errors.Is(err, complete) {
		b.stream.Forget()
		return err
	}
	return nil
}

// Get is the current value of key, or events.ErrNotFound.
func (b *Bucket) Get(ctx context.Context, key string) (events.Entry, error) {
	l, m, err := b.last(ctx, key)
	if err != nil {
		return events.Entry{}, fmt.Errorf("get %s from %s: %w", key, b.name, err)
	}
	e := b.entry(l, m.Subject, m.Header, m.Data, m.Sequence)
	if e.Deleted() {
		return events.Entry{}, fmt.Errorf("get %s from %s: %w", key, b.name, events.ErrNotFound)
	}
	return e, nil
}

// last is the newest message about key, a deletion included.
func (b *Bucket) last(ctx context.Context, key string) (*link.Life, *jetstream.RawStreamMsg, error) {
	if err := validKey(key); err != nil {
		return nil, nil, err
	}
	return b.stream.Newest(ctx, b.subject(key))
}

// Create stores the first value of a key that is not there, or was deleted.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (events.Version, error) {
	v, err := b.store(ctx, key, value, events.Version{}, nats.Header{})
	if !errors.Is(err, events.ErrConflict) {
		return v, err
	}
	// A deleted key has a last revision too: that of its deletion.
	l, m, err2 := b.last(ctx, key)
	if err2 != nil || !b.entry(l, m.Subject, m.Header, m.Data, m.Sequence).Deleted() {
		return events.Version{}, err
	}
	return b.store(ctx, key, value, events.Version{Incarnation: l.Incarnation, Revision: m.Sequence}, nats.Header{})
}

// Update replaces the value that has version last. events.ErrConflict: the key
// has another version, or the bucket another life. events.ErrUnknownOutcome:
// the new value may be there or not; only another compare-and-set can find out.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error) {
	if last.Zero() {
		return events.Version{}, fmt.Errorf("update %s in %s: no version given: %w", key, b.name, events.ErrConflict)
	}
	return b.store(ctx, key, value, last, nats.Header{})
}

// Delete removes the value that has version last; errors are those of Update.
func (b *Bucket) Delete(ctx context.Context, key string, last events.Version) error {
	if last.Zero() {
		return fmt.Errorf("delete %s in %s: no version given: %w", key, b.name, events.ErrConflict)
	}
	_, err := b.store(ctx, key, nil, last, nats.Header{opHeader: {opDelete}})
	return err
}

// store appends one message about key if the last one has version last.
func (b *Bucket) store(ctx context.Context, key string, value []byte, last events.Version, header nats.Header) (events.Version, error) {
	fail := func(err error) (events.Version, error) {
		return events.Version{}, fmt.Errorf("store %s in %s: %w", key, b.name, err)
	}
	if err := validKey(key); err != nil {
		return fail(err)
	}
	l, err := b.stream.Open(ctx)
	if err != nil {
		return fail(err)
	}
	if !last.Zero() && last.Incarnation != l.Incarnation {
		return fail(fmt.Errorf("version %s is of another life of the bus, which is %s now: %w", last, l.Incarnation, events.ErrConflict))
	}
	ctx, cancel, err := b.conn.Begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer cancel()
	m := &nats.Msg{Subject: b.subject(key), Header: header, Data: value}
	ack, err := b.conn.JS.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last.Revision), jetstream.WithExpectStream(b.stream.Name()))
	if err != nil {
		if !link.IsConflict(err) {
			b.stream.Forget()
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			err = fmt.Errorf("%d bytes, where the bus takes %d: %w", len(value), b.conn.NATS.MaxPayload(), err)
		}
		return fail(link.Outcome(link.Explained(ctx, err)))
	}
	return events.Version{Incarnation: l.Incarnation, Revision: ack.Sequence}, nil
}

// Headers by which key/value clients of NATS mark a deletion.
const (
	opHeader     = "KV-Operation"
	opDelete     = "DEL"
	opPurge      = "PURGE"
	markerHeader = "Nats-Marker-Reason"
)

func (b *Bucket) entry(l *link.Life, subject string, header nats.Header, data []byte, revision uint64) events.Entry {
	e := events.Entry{Key: strings.TrimPrefix(subject, b.subject("")), Version: events.Version{Incarnation: l.Incarnation, Revision: revision}}
	if op := header.Get(opHeader); op == opDelete || op == opPurge || header.Get(markerHeader) != "" {
		return e
	}
	if e.Value = data; data == nil {
		e.Value = []byte{} // empty is not deleted
	}
	return e
}

func (b *Bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// validKey refuses what NATS would take for another subject.
func validKey(key string) error {
	if key == "" || strings.HasPrefix(key, ".") || strings.HasSuffix(key, ".") || strings.Contains(key, "..") {
		return fmt.Errorf("key %q: a part between dots is empty", key)
	}
	for _, r := range key {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-/_=.", r):
		default:
			return fmt.Errorf("key %q: %q is not allowed", key, r)
		}
	}
	return nil
}

// descriptions are what `nats kv ls` shows.
var descriptions = map[string]string{
	events.BucketDesired:     "what people asked for",
	events.BucketDesiredCopy: "what people asked for, once more",
	events.BucketAssign:      "what each host shall run",
	events.BucketRoutes:      "what routers obey",
	events.BucketLease:       "who leads",
	events.BucketHosts:       "which agent has the name of a host",
}

// bucketConfig is how a bucket is stored: what NATS's own key/value clients
// expect, so that the stock CLI reads it.
func bucketConfig(c *link.Conn, name string) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Description: descriptions[name],
		MaxMsgsPerSubject: 8, MaxBytes: -1, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		Duplicates: 2 * time.Minute, AllowRollup: true, DenyDelete: true,
		// Direct gets are answered by any replica; without them the stream's
		// leader answers.
		AllowDirect: false,
	}
	if name == events.BucketLease {
		cfg.MaxMsgsPerSubject = 1
	}
	return cfg
}
