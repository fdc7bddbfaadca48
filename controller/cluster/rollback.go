package cluster

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// A bus whose store was put back from an older copy counts on from there, in
// the same incarnation. Agents and routers that applied a later version then
// wait for revisions that come late, or take another value for the one they
// have. Every heartbeat carries the versions that its sender applies. If one of them
// is a version that the key never had, as far as this leader knows, either the
// bus went back or another leader has written meanwhile. The compare-and-set of
// the same value distinguishes these: it succeeds only if nobody else has written.
// Then the leader begins a new incarnation of all buckets, to which all versions
// of before are foreign, and its term ends.

// neverHad reports whether the key has not had version v, as far as this leader
// knows: another one may have written since.
func (s *Stored[T]) neverHad(v events.Version) bool {
	return v.Incarnation == s.Version.Incarnation && v.Revision > s.Former && v != s.Version
}

// hostRollback looks for a version that an agent cannot have applied. The proof is
// its own assignment, stored once more: a later leader would have written it first.
func hostRollback(s *State, b events.HostHeartbeat, now time.Time) []Effect {
	have, ok := s.Assigned[b.Host]
	if !ok {
		return nil
	}
	reported, is := b.Assigned, have.Version
	switch {
	case have.neverHad(b.Assigned):
	case b.Assigned == have.Version && !b.Token.Zero() && b.Token != have.Value.Term, b.Token.After(s.Term):
		reported, is = b.Token, have.Value.Term
	default:
		return nil
	}
	why, event := rollbackEvent(s, now, "host "+b.Host, events.BucketAssign, b.Host, reported, is)
	next := have.Value
	next.Decision = s.Because(event)
	return []Effect{RolledBack{Proof: PutAssignment{Value: next}, Why: why}}
}

// epochRollback looks for routes that nobody can have applied.
func epochRollback(s *State, who string, services, tables map[string]events.Epoch, now time.Time) []Effect {
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if have, ok := s.Routes[name]; ok && have.neverHad(services[name]) {
			why, event := rollbackEvent(s, now, who, events.BucketRoutes, events.ServiceKey(name), services[name], have.Version)
			next := have.Value
			next.Decision = s.Because(event)
			return []Effect{RolledBack{Proof: PutRoute{Value: next}, Why: why}}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if have, ok := s.TableRoutes[name]; ok && have.neverHad(tables[name]) {
			why, event := rollbackEvent(s, now, who, events.BucketRoutes, events.TableKey(name), tables[name], have.Version)
			next := have.Value
			next.Decision = s.Because(event)
			return []Effect{RolledBack{Proof: PutTableRoute{Value: next}, Why: why}}
		}
	}
	return nil
}

func rollbackEvent(s *State, now time.Time, who, bucket, key string, reported, is events.Version) (why string, e events.Event) {
	return fmt.Sprintf("%s obeys %s of %s in %s, which is at %s", who, reported, key, bucket, is),
		s.Event(now, events.EntityBus, events.VerbRolledBack, bucket, map[string]any{"by": who, "key": key, "obeyed": reported.String(), "stored": is.String()})
}
