package replica

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"ringway/events"
)

// status is what is known of a replica, for heartbeats and for those who read.
type status struct {
	log     *slog.Logger
	changed func() // is called after each change of the state

	mu      sync.Mutex
	replica events.ReplicaStatus
	running *Running // nil: there is nothing to read
}

// set sets the state of the replica.
func (s *status) set(state, detail string) { s.setFault(state, detail, nil) }

// setFault is set with the error that led to the state.
func (s *status) setFault(state, detail string, err error) {
	s.mu.Lock()
	was := s.replica.State
	s.replica.State, s.replica.Detail, s.replica.Cause = state, detail, ""
	if state == events.ReplicaHalted {
		s.replica.Cause = logCause(err)
	}
	at := s.applied()
	s.mu.Unlock()
	if was == state {
		return
	}
	s.changed()
	switch state {
	case events.ReplicaHalted, events.ReplicaQuarantined:
		s.log.Error("replica is "+state, "at", at.String(), events.KeyCause, detail)
	default:
		s.log.Info("replica is "+state, "at", at.String(), "was", was)
	}
}

// logCause is the name of a fault of a log, empty for any other error.
func logCause(err error) string {
	switch {
	case errors.Is(err, events.ErrLogMissing):
		return events.CauseLogMissing
	case errors.Is(err, events.ErrLogPurged):
		return events.CauseLogPurged
	case isDamage(err):
		return events.CauseLogDamaged
	}
	return ""
}

// isDamage reports whether a log lost what is needed.
func isDamage(err error) bool {
	_, is := errors.AsType[*events.LogHole](err)
	return is
}

// setPosition is for a replica that no applier moves; nil: there is none.
func (s *status) setPosition(at *events.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at == nil {
		at = &events.Position{}
	}
	s.replica.Applied = *at
	if s.replica.Durable.Incarnation != at.Incarnation || s.replica.Durable.Seq > at.Seq {
		s.replica.Durable = events.Position{}
	}
}

func (s *status) setRunning(r *Running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = r
}

func (s *status) setDurable(at events.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replica.Durable = at
}

func (s *status) setHole(hole *events.LogHole) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replica.Hole = hole
}

func (s *status) durable() events.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replica.Durable
}

// current is the replica's part of a heartbeat.
func (s *status) current() events.ReplicaStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replica
	r.Applied = s.applied()
	return r
}

// applied needs the lock.
func (s *status) applied() events.Position {
	if s.running != nil {
		if at := s.running.Applied(); at.Incarnation != "" {
			return at
		}
	}
	return s.replica.Applied
}

// readable is the replica, if it can be read. One that halted has what it had
// applied: what nobody can apply takes nothing from that.
func (s *status) readable() (*Running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.replica.State; s.running == nil || state != events.ReplicaReady && state != events.ReplicaCatchingUp && state != events.ReplicaHalted {
		return nil, events.StatusErrorf(http.StatusServiceUnavailable, "the replica of shard %s is %s here", s.replica.Shard, state)
	}
	return s.running, nil
}

// setResponder is for the applier of the replica, if there is one.
func (s *status) setResponder(responder bool) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running != nil {
		running.applier.SetResponder(responder)
	}
}
