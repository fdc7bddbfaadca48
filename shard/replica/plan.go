package replica

import (
	"errors"
	"fmt"

	"ringway/events"
	"ringway/events/shardlog"
)

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
	at             *events.Position  // of the replica; nil: there is none that is whole
	log            shardlog.LogState // if there is no replica
	logErr         error             // log could not be asked
	applyErr       error             // with which the applier ended last; nil: it has not
	hole           *events.LogHole   // of the log, as far as it was met; nil: none was
	maxReplaySeq   uint64            // a log that ends below this, and
	maxReplayBytes uint64            // has fewer bytes, is replayed rather than copied
}

// next decides the next step, and the state of the replica meanwhile.
func next(t *Target, s *observation) (do step, state, detail string) {
	canFill := len(t.donors) > 0
	wait := func(state, format string, args ...any) (step, string, string) {
		return stepRest, state, fmt.Sprintf(format, args...)
	}
	const nobody = "and no other replica is ready"
	if s.at == nil {
		whole := s.logErr == nil && s.log.First == 1 && t.Log.Origin == nil && s.hole == nil
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
		if s.hole != nil && s.log.First <= s.hole.To {
			return wait(events.ReplicaWaiting, "%s, %s", s.hole, nobody)
		}
		return wait(events.ReplicaWaiting, "the log begins at %d, %s", s.log.First, nobody)
	}
	if s.at.Incarnation != t.Log.Incarnation {
		switch {
		case t.Log.Origin != nil && *t.Log.Origin == *s.at:
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
	case isDamage(s.applyErr) && canFill:
		return stepReplace, events.ReplicaCopying, fmt.Sprintf("%s; it is copied from a replica that is further", s.applyErr)
	case isDamage(s.applyErr):
		return wait(events.ReplicaHalted, "%s, %s: 'ringway shards recover' would go on from the most advanced one", s.applyErr, nobody)
	case errors.Is(s.applyErr, events.ErrLogPurged):
		return wait(events.ReplicaHalted, "%s, %s", s.applyErr, nobody)
	case errors.Is(s.applyErr, events.ErrLogForeign) && canFill:
		return stepReplace, events.ReplicaQuarantined, s.applyErr.Error()
	case errors.Is(s.applyErr, events.ErrLogForeign):
		return wait(events.ReplicaQuarantined, "%s, %s", s.applyErr, nobody)
	}
	return wait(events.ReplicaHalted, "%s", s.applyErr)
}

func (s step) String() string {
	return [...]string{"rest", "create", "discard", "replace", "fill", "rebase", "apply"}[s]
}
