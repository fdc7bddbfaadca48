package shard

import (
	"errors"
	"fmt"

	"ringway/events"
)

// aim is what a route wants of one replica.
type aim struct {
	spec   events.ShardSpec
	log    events.ShardLog
	eager  bool
	donors []donor // ready replicas on other servers
	others []donor // replicas on other servers that are not
}

// donor is a replica that can be copied from.
type donor struct{ server, address string }

// aimOf is what a route wants of the replica of a shard on server, if it wants one.
func aimOf(route *events.TableRoute, shard events.ShardRoute, server string) (aim, bool) {
	spec, _ := route.Spec(shard.Shard) // a decoded route has it
	a := aim{spec: spec, log: shard.Log, eager: shard.Responder == server}
	here := false
	for _, r := range shard.Replicas {
		other, _ := route.Server(r.Server)
		switch {
		case r.Server == server:
			here = true
		case other.Address == "":
		case r.Ready:
			a.donors = append(a.donors, donor{r.Server, other.Address})
		default:
			a.others = append(a.others, donor{r.Server, other.Address})
		}
	}
	return a, here
}

func (a *aim) logID() events.LogID {
	return events.LogID{Table: a.spec.Table, Shard: a.spec.Shard.ID, Incarnation: a.log.Incarnation}
}

// same reports whether a replica that pursues a goes on under b.
func (a *aim) same(b *aim) bool {
	origin := func(l *events.ShardLog) events.Position {
		if l.Origin == nil {
			return events.Position{}
		}
		return *l.Origin
	}
	return a.log.Incarnation == b.log.Incarnation && origin(&a.log) == origin(&b.log) &&
		a.spec.Table == b.spec.Table && a.spec.Shard == b.spec.Shard && a.spec.Schema.Equal(&b.spec.Schema)
}

// step is what a keeper does next.
type step int

const (
	rest    step = iota // nothing, for now: state and detail say why
	create              // an empty replica, at the log's start
	discard             // a replica that holds nothing, of another log
	replace             // erase what is there, if a donor has better
	fill                // copy from a donor
	rebase              // to the log that continues this state
	apply
)

// standing is all that the next step follows from.
type standing struct {
	at      *events.Position // of the replica; nil: there is none that is whole
	log     events.LogState  // if there is no replica
	logErr  error            // log could not be asked
	verdict error            // how the applier ended last
	short   uint64           // a log that ends below this, and
	small   uint64           // has fewer bytes, is replayed rather than copied
}

// next decides the next step, and what to say of the replica meanwhile.
func next(a *aim, s *standing) (do step, state, detail string) {
	canFill := len(a.donors) > 0
	wait := func(state, format string, args ...any) (step, string, string) {
		return rest, state, fmt.Sprintf(format, args...)
	}
	const nobody = "and no other replica is ready"
	if s.at == nil {
		whole := s.logErr == nil && s.log.First == 1 && a.log.Origin == nil
		switch {
		case errors.Is(s.logErr, events.ErrLogMissing), errors.Is(s.logErr, events.ErrLogForeign):
			return wait(events.ReplicaWaiting, "%s", s.logErr)
		case s.logErr != nil:
			return wait(events.ReplicaOpening, "%s", s.logErr)
		case whole && s.log.Last < s.short && s.log.Bytes < s.small:
			return create, events.ReplicaCatchingUp, ""
		case canFill:
			return fill, events.ReplicaCopying, ""
		case whole:
			return create, events.ReplicaCatchingUp, ""
		}
		return wait(events.ReplicaWaiting, "the log begins at %d, %s", s.log.First, nobody)
	}
	if s.at.Incarnation != a.log.Incarnation {
		switch {
		case a.log.Origin != nil && *a.log.Origin == *s.at:
			return rebase, events.ReplicaCatchingUp, ""
		case s.at.Seq == 0:
			return discard, events.ReplicaOpening, ""
		case canFill:
			return replace, events.ReplicaQuarantined, fmt.Sprintf("at %s, which the log does not continue; it is rebuilt", s.at)
		}
		return wait(events.ReplicaQuarantined, "at %s, which the log does not continue, %s", s.at, nobody)
	}
	switch {
	case s.verdict == nil:
		return apply, events.ReplicaCatchingUp, ""
	case errors.Is(s.verdict, events.ErrLogPurged) && canFill:
		return replace, events.ReplicaCopying, ""
	case errors.Is(s.verdict, events.ErrLogPurged):
		return wait(events.ReplicaHalted, "%s, %s", s.verdict, nobody)
	case errors.Is(s.verdict, events.ErrLogForeign) && canFill:
		return replace, events.ReplicaQuarantined, s.verdict.Error()
	case errors.Is(s.verdict, events.ErrLogForeign):
		return wait(events.ReplicaQuarantined, "%s, %s", s.verdict, nobody)
	}
	return wait(events.ReplicaHalted, "%s", s.verdict)
}
