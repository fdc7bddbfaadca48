package leader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// maxTakeOver bounds a takeover on a bus that answers slowly. The lease is renewed
// meanwhile, and ctx ends when it is lost: a bound as short as the lease had a slow
// disk end each term before it could do anything.
const maxTakeOver = 30 * time.Second

// takeOver begins a term. The lease alone does not exclude the former leader: it
// may have been paused after it looked at its lease, and its last write may
// still be on its way. Therefore takeOver writes every stored value once more,
// with the token of this term. Such a write goes to the revision that was read,
// so either it comes first, and the former leader's compare-and-set fails from
// then on, or it conflicts, and the value is read again and includes that last
// write. What is in the state afterwards is what is stored, and nobody else can
// change it unnoticed. The events of each value that are not in the event stream
// yet are published: the former leader died between storing and publishing. Last,
// every host that has an assignment counts as just seen, so that one which died
// together with the former leader is noticed.
func (t *term) takeOver(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, maxTakeOver)
	defer cancel()
	s := t.state
	var copies, hosts Bucket // the latter is the agents'; who leads repairs it too
	repaired := false        // what was asked for
	for _, bucket := range []struct {
		name string
		b    *Bucket
	}{{events.BucketHosts, &hosts}, {events.BucketDesiredCopy, &copies}, {events.BucketDesired, &t.desired}, {events.BucketAssign, &t.assign}, {events.BucketRoutes, &t.routes}} {
		b, err := t.open(ctx, bucket.name)
		if err != nil {
			return fmt.Errorf("take over: %w", err)
		}
		// An assignment of before would have agents stop what was assigned after it, and
		// the name of a host may have been another agent's.
		damaged, err := b.Repair(ctx, bucket.name != events.BucketAssign && bucket.name != events.BucketHosts)
		if err != nil {
			return fmt.Errorf("take over: %w", err)
		}
		if *bucket.b = b; damaged {
			repaired = repaired || bucket.name == events.BucketDesired
			t.publish(s.Event(time.Now(), events.EntityBus, verbRestored, bucket.name, map[string]any{"reason": "records of it could not be read"}))
		}
	}
	both, again, err := openCopied(ctx, t.desired, copies, repaired)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	t.desired = both
	for _, r := range again {
		t.log.Error("what was asked for was damaged on the bus; it is restored from its copy", "key", r.key, events.KeyCause, r.why)
		t.publish(s.Event(time.Now(), events.EntityBus, verbRestored, events.BucketDesired, map[string]any{"key": r.key, "reason": r.why}))
	}
	service, table := events.ServiceKey(""), events.TableKey("")
	if err := rewrite(ctx, t, events.BucketDesired, t.desired, service, events.DecodeService, s.Services, func(v *events.Service) string { return v.Spec.Name }); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketDesired, t.desired, table, events.DecodeDatabase, s.Tables, func(v *events.Database) string { return v.Table.Name }); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketAssign, t.assign, "", events.DecodeAssignment, s.Assigned, func(v *events.Assignment) string { return v.Host }); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketRoutes, t.routes, table, events.DecodeTableRoute, s.TableRoutes, func(v *events.TableRoute) string { return v.Table.Name }); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketRoutes, t.routes, service, events.DecodeRoute, s.Routes, func(v *events.Route) string { return v.Service }); err != nil {
		return err
	}
	for key := range t.undecodable {
		if name, ok := strings.CutPrefix(key, events.BucketDesired+"/"+service); ok {
			s.Undecodable[name] = true
		}
		if name, ok := strings.CutPrefix(key, events.BucketDesired+"/"+table); ok {
			s.UndecodableTables[name] = true
		}
	}
	now := time.Now()
	s.AssumeAlive(now)
	s.Rollback = t.assign.Rollback()
	return t.carryOut(ctx, s.Emit(now, events.EntityController, events.VerbElected, t.cfg.ID, map[string]any{
		"incarnation": s.Term.Incarnation, "services": len(s.Services), "tables": len(s.Tables), "hosts": len(s.Hosts),
	}))
}

// value is a pointer to what a bucket stores, with the decision behind it.
type value[V any] interface {
	*V
	Why() *events.Decision
}

// rewrite reads a bucket and writes every value whose key begins with prefix
// back under the new term; other keys are left alone. A key is the prefix and
// the name of its value. In place of a value that
// cannot be decoded it takes the last one that can.
func rewrite[V any, P value[V]](ctx context.Context, t *term, bucket string, b Bucket, prefix string, decodeValue func([]byte) (V, error), into map[string]*cluster.Stored[V], name func(P) string) error {
	entries, err := b.Entries(ctx)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, prefix) {
			continue
		}
		decode := func(b []byte) (V, error) {
			v, err := decodeValue(b)
			if key := prefix + name(&v); err == nil && key != e.Key {
				err = fmt.Errorf("it is the value of %s", key)
			}
			return v, err
		}
		for {
			v, err := decode(e.Value)
			if err != nil {
				t.log.Error("stored value cannot be read; going back to the last one that can", "bucket", bucket, "key", e.Key, events.KeyError, err)
				former, err := b.Former(ctx, e.Key)
				if err != nil {
					return fmt.Errorf("take over: %w", err)
				}
				i := slices.IndexFunc(former, func(f events.Entry) bool { _, err := decode(f.Value); return err == nil })
				if i < 0 {
					t.log.Error("no former value can be read either; it is decided anew", "bucket", bucket, "key", e.Key)
					t.undecodable[bucket+"/"+e.Key] = e.Version
					break
				}
				v, _ = decode(former[i].Value)
			}
			why := P(&v).Why()
			for _, event := range why.Cause {
				if there, err := t.bus.Emitted(ctx, event); err != nil {
					return fmt.Errorf("take over: %w", err)
				} else if !there {
					t.outbox.add(event)
				}
			}
			why.Term, why.Former = t.lease.Token, e.Version
			version, err := b.Update(ctx, e.Key, encode(v), e.Version)
			if err == nil {
				into[name(&v)] = &cluster.Stored[V]{Value: v, Version: version, Former: e.Version.Revision}
				break
			}
			if errors.Is(err, events.ErrRefused) {
				// It stays as it is, under the term in which it was stored. Its next
				// change compares with that, as with what this term has written.
				t.log.Error("a stored value cannot be written anew; it stays as it is", "bucket", bucket, "key", e.Key, "bytes", len(e.Value), events.KeyError, err)
				into[name(&v)] = &cluster.Stored[V]{Value: v, Version: e.Version, Former: e.Version.Revision - 1}
				break
			}
			if !errors.Is(err, events.ErrConflict) {
				return fmt.Errorf("take over %s: %w", e.Key, err)
			}
			if e, err = b.Get(ctx, e.Key); err != nil { // the former leader's last write
				return fmt.Errorf("take over: %w", err)
			}
		}
	}
	return nil
}
