package shard

import (
	"errors"
	"fmt"

	"ringway/events"
)

// target is what a route wants of one replica.
type target struct {
	spec      events.ShardSpec
	log       events.ShardLog
	responder bool
	donors    []donor // ready replicas on other servers
	others    []donor // replicas on other servers that are not
}

// donor is a replica that can be copied from.
type donor struct{ server, address string }

// targetOf is what a route wants of the replica of a shard on server, if it wants one.
func targetOf(route *events.TableRoute, shard events.ShardRoute, server string) (target, bool) {
	spec, _ := route.Spec(shard.Shard) // a decoded route has it
	t := target{spec: spec, log: shard.Log, responder: shard.Responder == server}
	here := false
	for _, r := range shard.Replicas {
		other, _ := route.Server(r.Server)
		switch {
		case r.Server == server:
			here = true
		case other.Address == "":
		case r.Ready:
			t.donors = append(t.donors, donor{r.Server, other.Address})
		default:
			t.others = append(t.others, donor{r.Server, other.Address})
		}
	}
	return t, here
}

func (t *target) logID() events.LogID {
	return events.LogID{Table: t.spec.Table, Shard: t.spec.Shard.ID, Incarnation: t.log.Incarnation}
}

// same reports whether a replica that pursues a goes on under b.
func (t *target) same(b *target) bool {
	origin := func(l *events.ShardLog) events.Position {
		if l.Origin == nil {
			return events.Position{}
		}
		return *l.Origin
	}
	return t.log.Incarnation == b.log.Incarnation && origin(&t.log) == origin(&b.log) &&
		t.spec.Table == b.spec.Table && t.spec.Shard == b.spec.Shard && t.spec.Schema.Equal(&b.spec.Schema)
}

// step is what a manager does next.
type step int

const (
	stepRest    step = iota // nothing, for now; state and detail have the reason
	stepCreate              // an empty replica, at the log's start
	stepDiscard             // a replica that holds nothing, of another log
	stepReplace             // erase what is there, if a donor has better
	stepFill                // copy from a donor
	stepRebase              // to the log that continues this state
	stepApply
)

// observation is all that the next step depends on.
type observation struct {
	at             *events.Position // of the replica; nil: there is none that is whole
	log            events.LogState  // if there is no replica
	logErr         error            // log could not be asked
	applyErr       error            // with which the applier ended last; nil: it has not
	maxReplaySeq   uint64           // a log that ends below this, and
	maxReplayBytes uint64           // has fewer bytes, is replayed rather than copied
}

// next decides the next step, and the state of the replica meanwhile.
func next(t *target, s *observation) (do step, state, detail string) {
	canFill := len(t.donors) > 0
	wait := func(state, format string, args ...any) (step, string, string) {
		return stepRest, state, fmt.Sprintf(format, args...)
	}
	const nobody = "and no other replica is ready"
	if s.at == nil {
		whole := s.logErr == nil && s.log.First == 1 && t.log.Origin == nil
		switch {
		case errors.Is(s.logErr, events.ErrLogMissing), errors.Is(s.logErr, events.ErrLogForeign):
			return wait(events.ReplicaWaiting, "%s", s.logErr)
		case s.logErr != nil:
			return wait(events.ReplicaOpening, "%s", s.logErr)
		case whole && s.log.Last < s.maxReplaySeq && s.log.Bytes < s.maxReplayBytes:
			return stepCreate, events.ReplicaCatchingUp, ""
		case canFill:
			return stepFill, events.ReplicaCopying, ""
		case whole:
			return stepCreate, events.ReplicaCatchingUp, ""
		}
		return wait(events.ReplicaWaiting, "the log begins at %d, %s", s.log.First, nobody)
	}
	if s.at.Incarnation != t.log.Incarnation {
		switch {
		case t.log.Origin != nil && *t.log.Origin == *s.at:
			return stepRebase, events.ReplicaCatchingUp, ""
		case s.at.Seq == 0:
			return stepDiscard, events.ReplicaOpening, ""
		case canFill:
			return stepReplace, events.ReplicaQuarantined, fmt.Sprintf("at %s, which the log does not continue; it is rebuilt", s.at)
		}
		return wait(events.ReplicaQuarantined, "at %s, which the log does not continue, %s", s.at, nobody)
	}
	switch {
	case s.applyErr == nil:
		return stepApply, events.ReplicaCatchingUp, ""
	case errors.Is(s.applyErr, events.ErrLogPurged) && canFill:
		return stepReplace, events.ReplicaCopying, ""
	case errors.Is(s.applyErr, events.ErrLogPurged):
		return wait(events.ReplicaHalted, "%s, %s", s.applyErr, nobody)
	case errors.Is(s.applyErr, events.ErrLogForeign) && canFill:
		return stepReplace, events.ReplicaQuarantined, s.applyErr.Error()
	case errors.Is(s.applyErr, events.ErrLogForeign):
		return wait(events.ReplicaQuarantined, "%s, %s", s.applyErr, nobody)
	}
	return wait(events.ReplicaHalted, "%s", s.applyErr)
}
