package shard

import (
	"context"
	"fmt"

	"ringway/events"
)

// setState reports the state of the replica, in a heartbeat at once if it has changed.
func (m *manager) setState(state, detail string) {
	m.mu.Lock()
	was := m.status.State
	m.status.State, m.status.Detail = state, detail
	at := m.applied()
	m.mu.Unlock()
	if was == state {
		return
	}
	m.s.heartbeatSoon()
	switch state {
	case events.ReplicaHalted, events.ReplicaQuarantined:
		m.logger.Error("replica is "+state, "at", at.String(), events.KeyCause, detail)
	default:
		m.logger.Info("replica is "+state, "at", at.String(), "was", was)
	}
}

// setPosition is for a replica that no applier moves.
func (m *manager) setPosition(at *events.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at == nil {
		at = &events.Position{}
	}
	m.status.Applied = *at
	if m.status.Durable.Incarnation != at.Incarnation || m.status.Durable.Seq > at.Seq {
		m.status.Durable = events.Position{}
	}
}

// currentStatus is the replica's part of a heartbeat.
func (m *manager) currentStatus() events.ReplicaStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	status := m.status
	status.Applied = m.applied()
	return status
}

// applied is for who holds the lock.
func (m *manager) applied() events.Position {
	if m.here != nil {
		if at := m.here.applier.Applied(); at.Incarnation != "" {
			return at
		}
	}
	return m.status.Applied
}

// readable is the replica for one read by somebody who believes in that log.
func (m *manager) readable(incarnation string) (*replica, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.target.log.Incarnation != incarnation {
		return nil, events.StatusErrorf(409, "shard %s has log %s here, not %s", m.key.shard, m.target.log.Incarnation, incarnation)
	}
	r, err := m.checkReadable()
	if err == nil {
		if at := r.applier.Applied(); at.Incarnation != "" && at.Incarnation != incarnation {
			return nil, events.StatusErrorf(503, "the replica of shard %s is about to go on in log %s", m.key.shard, incarnation)
		}
	}
	return r, err
}

// current is the replica and the log that it has.
func (m *manager) current() (*replica, target, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, err := m.checkReadable()
	return r, m.target, err
}

func (m *manager) checkReadable() (*replica, error) {
	if s := m.status.State; m.here == nil || s != events.ReplicaReady && s != events.ReplicaCatchingUp {
		return nil, events.StatusErrorf(503, "the replica of shard %s is %s here", m.key.shard, s)
	}
	return m.here, nil
}

// await returns when the replica has applied a seq.
func (r *replica) waitApplied(s *Server, seq uint64) error {
	at := r.applier.Applied()
	if at.Seq >= seq {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.context(), s.cfg.ReadWait)
	defer cancel()
	if err := r.applier.Wait(ctx, seq); err != nil {
		return fmt.Errorf("%w: %w", events.StatusErrorf(503, "the replica is at %d, not yet at %d", r.applier.Applied().Seq, seq), err)
	}
	return nil
}

// refuseRolledBack refuses an answer of a store that had applied more before it was
// asked: its server lost what it had not synced. Nobody else notices as long as
// nothing is written.
func (r *replica) refuseRolledBack(before events.Position, seq uint64) error {
	if seq >= before.Seq {
		return nil
	}
	r.leave()
	return events.StatusErrorf(503, "the replica is at %d and was at %d: its database lost the rest", seq, before.Seq)
}

func (s step) String() string {
	return [...]string{"rest", "create", "discard", "replace", "fill", "rebase", "apply"}[s]
}
