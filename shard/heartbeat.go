package shard

import (
	"cmp"
	"context"
	"slices"
	"time"

	"ringway/events"
)

// heartbeatSoon has a heartbeat sent before its time.
func (s *Server) heartbeatSoon() { s.heartbeatNow.Notify() }

// sendHeartbeats sends heartbeats until ctx ends. One that fails
// is not sent again: the next one is newer.
func (s *Server) sendHeartbeats(ctx context.Context) {
	tick := time.NewTicker(events.HeartbeatInterval)
	defer tick.Stop()
	subject, away := events.ShardSubject(s.cfg.ID), false
	for {
		err := s.bus.Publish(subject, s.status())
		switch {
		case err != nil && !away:
			s.log.Warn("heartbeats do not go out", events.KeyError, err)
		case err == nil && away:
			s.log.Info("heartbeats go out again")
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return
		case <-s.heartbeatNow:
		case <-tick.C:
		}
	}
}

// status is what the server knows of itself now.
func (s *Server) status() events.ShardHeartbeat {
	engine, trouble := s.engine.status()
	b := events.ShardHeartbeat{
		Server: s.cfg.ID, Incarnation: s.life, Sent: time.Now().UTC(), Engine: engine, Volume: s.cfg.Volume,
		Epochs: map[string]events.Epoch{}, Replicas: []events.ReplicaStatus{}, Detail: trouble,
	}
	s.mu.Lock()
	for name, t := range s.tables {
		b.Epochs[name] = t.epoch
	}
	managers := *s.managers.Load() // those of these epochs
	s.mu.Unlock()
	for _, m := range managers {
		b.Replicas = append(b.Replicas, m.Status())
	}
	slices.SortFunc(b.Replicas, func(a, b events.ReplicaStatus) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Shard, b.Shard))
	})
	return b
}
