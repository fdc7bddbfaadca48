package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/events"
)

// A bus whose store was put back from an older copy counts on from there, in
// the same life: whoever obeyed more waits for revisions that come late, or
// takes another value for the one it has. The leader notices it by versions
// that the key never had, proves it by a compare-and-set, and begins a new life
// of the buckets, to which all versions of before are foreign.

// errRolledBack: the next term begins in a new life of the buckets.
var errRolledBack = errors.New("the bus went back to an older copy of itself")

// neverHad reports whether the key has not had version v, as far as this leader
// knows: another one may have written since.
func (s *stored[T]) neverHad(v events.Version) bool {
	return v.Incarnation == s.version.Incarnation && v.Revision > s.former && v != s.version
}

// hostRollback looks for what an agent cannot have obeyed. The proof is its own
// assignment, stored once more: a later leader would have written it first.
func (s *state) hostRollback(b events.HostHeartbeat, now time.Time) []effect {
	have, ok := s.assigned[b.Host]
	if !ok {
		return nil
	}
	reported, is := b.Assigned, have.version
	switch {
	case have.neverHad(b.Assigned):
	case b.Assigned == have.version && !b.Token.Zero() && b.Token != have.value.Term, b.Token.After(s.term):
		reported, is = b.Token, have.value.Term
	default:
		return nil
	}
	why, event := s.rollbackEvent(now, "host "+b.Host, events.BucketAssign, b.Host, reported, is)
	next := have.value
	next.Decision = s.because(event)
	return []effect{rolledBack{proof: putAssign{value: next}, why: why}}
}

// epochRollback looks for routes that nobody can have obeyed.
func (s *state) epochRollback(who string, services, tables map[string]events.Epoch, now time.Time) []effect {
	for _, name := range sorted(services) {
		if have, ok := s.routes[name]; ok && have.neverHad(services[name]) {
			why, event := s.rollbackEvent(now, who, events.BucketRoutes, events.ServiceKey(name), services[name], have.version)
			next := have.value
			next.Decision = s.because(event)
			return []effect{rolledBack{proof: putRoute{value: next}, why: why}}
		}
	}
	for _, name := range sorted(tables) {
		if have, ok := s.tableRoutes[name]; ok && have.neverHad(tables[name]) {
			why, event := s.rollbackEvent(now, who, events.BucketRoutes, events.TableKey(name), tables[name], have.version)
			next := have.value
			next.Decision = s.because(event)
			return []effect{rolledBack{proof: putTableRoute{value: next}, why: why}}
		}
	}
	return nil
}

func (s *state) rollbackEvent(now time.Time, who, bucket, key string, reported, is events.Version) (why string, e events.Event) {
	return fmt.Sprintf("%s obeys %s of %s in %s, which is at %s", who, reported, key, bucket, is),
		s.event(now, events.EntityBus, events.VerbRolledBack, bucket, map[string]any{"by": who, "key": key, "obeyed": reported.String(), "stored": is.String()})
}

// beginAnew ends this life of the buckets, all of them: agents stop what an
// assignment no longer names only if the lease that it was decided under is of
// the same life as the one which named it. The lease comes first therefore; if
// the rest fails, the next leader finds it as this one did.
func (t *term) beginAnew(ctx context.Context, e rolledBack) error {
	if !t.lease.valid(time.Now()) {
		return errDeposed
	}
	t.log.Error("the bus went back to an older copy of itself; all its buckets begin a new life", events.KeyCause, e.why)
	// Well within what the bucket leaves the lease beyond our own validity, so
	// that no other leader begins in between.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.RenewEvery)
	defer cancel()
	why := events.Rollback{Noticed: time.Now().UTC(), Reason: e.why}
	for _, b := range []Bucket{t.lease.bucket, t.assign, t.routes, t.desired} {
		if err := b.BeginAnew(ctx, why); err != nil {
			return fmt.Errorf("%w: %w", errRolledBack, err)
		}
	}
	return fmt.Errorf("%w: %s", errRolledBack, e.why)
}
