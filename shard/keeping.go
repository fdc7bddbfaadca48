package shard

import (
	"context"
	"fmt"

	"ringway/events"
)

// tell says how the replica is, at once if that is another state.
func (k *keeper) tell(state, detail string) {
	k.mu.Lock()
	was := k.status.State
	k.status.State, k.status.Detail = state, detail
	at := k.applied()
	k.mu.Unlock()
	if was == state {
		return
	}
	k.s.beatSoon()
	switch state {
	case events.ReplicaHalted, events.ReplicaQuarantined:
		k.say.Error("replica is "+state, "at", at.String(), events.KeyCause, detail)
	default:
		k.say.Info("replica is "+state, "at", at.String(), "was", was)
	}
}

// place says where a replica stands that no applier moves.
func (k *keeper) place(at *events.Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at == nil {
		at = &events.Position{}
	}
	k.status.Applied = *at
	if k.status.Durable.Incarnation != at.Incarnation || k.status.Durable.Seq > at.Seq {
		k.status.Durable = events.Position{}
	}
}

// told is the replica's part of a heartbeat.
func (k *keeper) told() events.ReplicaStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	status := k.status
	status.Applied = k.applied()
	return status
}

// applied is for who holds the lock.
func (k *keeper) applied() events.Position {
	if k.here != nil {
		if at := k.here.applier.Applied(); at.Incarnation != "" {
			return at
		}
	}
	return k.status.Applied
}

// reading is the replica for one read by somebody who believes in that log.
func (k *keeper) reading(incarnation string) (*replica, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aim.log.Incarnation != incarnation {
		return nil, events.StatusErrorf(409, "shard %s has log %s here, not %s", k.key.shard, k.aim.log.Incarnation, incarnation)
	}
	r, err := k.readable()
	if err == nil {
		if at := r.applier.Applied(); at.Incarnation != "" && at.Incarnation != incarnation {
			return nil, events.StatusErrorf(503, "the replica of shard %s is about to go on in log %s", k.key.shard, incarnation)
		}
	}
	return r, err
}

// now is the replica and the log that it has.
func (k *keeper) now() (*replica, aim, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, err := k.readable()
	return r, k.aim, err
}

func (k *keeper) readable() (*replica, error) {
	if s := k.status.State; k.here == nil || s != events.ReplicaReady && s != events.ReplicaCatchingUp {
		return nil, events.StatusErrorf(503, "the replica of shard %s is %s here", k.key.shard, s)
	}
	return k.here, nil
}

// await returns when the replica has applied a seq.
func (r *replica) await(s *Server, seq uint64) error {
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

// wentBack refuses an answer of a store that had applied more before it was
// asked: its server lost what it had not synced. Nobody else notices as long as
// nothing is written.
func (r *replica) wentBack(before events.Position, seq uint64) error {
	if seq >= before.Seq {
		return nil
	}
	r.leave()
	return events.StatusErrorf(503, "the replica is at %d and was at %d: its database lost the rest", seq, before.Seq)
}

func (s step) String() string {
	return [...]string{"rest", "create", "discard", "replace", "fill", "rebase", "apply"}[s]
}
