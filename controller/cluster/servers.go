package cluster

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// shardServer is a shard server as observed in this term. Heartbeat is nil for
// one that is known only by what is stored.
type shardServer struct {
	Heartbeat    *events.ShardHeartbeat
	Seen         time.Time
	Silent       bool                 // for SuspectAfter
	former       string               // incarnation before its restart, whose late heartbeats are dropped
	published    map[string]string    // by "table.shard verb": the last event of a state of a replica
	stalledSince map[string]time.Time // replicas that stay where they are, by "table.shard": since another one is known to be ahead
}

// assumeServers counts every shard server that is wanted as just seen, and
// every host that keeps a volume.
func assumeServers(s *State, now time.Time) {
	for _, db := range s.Tables {
		for _, srv := range db.Value.Servers {
			s.Servers[srv.Name] = &shardServer{Seen: now}
			if _, ok := s.Hosts[srv.Host]; !ok && srv.Host != "" {
				s.Hosts[srv.Host] = &Host{Name: srv.Host, Seen: now, State: events.Alive}
				s.published[srv.Host] = true
			}
		}
	}
}

// ObserveServer takes the heartbeat of a shard server.
func (s *State) ObserveServer(b events.ShardHeartbeat, now time.Time) (effects []Effect) {
	srv := s.Servers[b.Server]
	if srv == nil {
		srv = &shardServer{}
		s.Servers[b.Server] = srv
	}
	before := srv.Heartbeat
	if srv.former != "" && srv.former == b.Incarnation {
		return nil
	}
	if before != nil && before.Incarnation == b.Incarnation {
		if late := before.Sent.Sub(b.Sent); late > 0 && late < s.Cfg.SuspectAfter { // overtaken on the way
			return nil
		}
	}
	srv.Heartbeat, srv.Seen, srv.Silent = &b, now, false
	if effects := epochRollback(s, "shard server "+b.Server, nil, b.Epochs, now); effects != nil {
		return effects
	}
	stalledSince := srv.stalledSince
	srv.stalledSince = map[string]time.Time{}
	for _, r := range b.Replicas {
		var was events.ReplicaStatus
		if before != nil {
			was, _ = before.Replica(r.Table, r.Shard)
		}
		if was.Applied == r.Applied && peersAhead(s, r) {
			key := r.Table + "." + r.Shard
			if srv.stalledSince[key] = stalledSince[key]; stalledSince[key].IsZero() {
				srv.stalledSince[key] = now
			}
		}
		effects = append(effects, stateEvents(s, now, srv, was.State, r)...)
	}
	return effects
}

// peersAhead reports whether a replica in rotation has applied more than this one.
func peersAhead(s *State, this events.ReplicaStatus) bool {
	have, ok := s.TableRoutes[this.Table]
	if !ok {
		return false
	}
	shard, _ := have.Value.Shard(this.Shard)
	return slices.ContainsFunc(shard.Replicas, func(r events.ShardReplica) bool {
		other, _ := s.Reported(r.Server, this.Table, this.Shard)
		return r.Ready && other.Applied.Incarnation == this.Applied.Incarnation && other.Applied.Seq > this.Applied.Seq
	})
}

// stateEvents are of the state that a shard server reports of a replica, when it
// changes. One that comes to the same state again for the same reason, and no further
// than it was, is trying: that was published.
func stateEvents(s *State, now time.Time, srv *shardServer, was string, r events.ReplicaStatus) []Effect {
	verb := map[string]string{
		events.ReplicaCopying: events.VerbFilling, events.ReplicaQuarantined: events.VerbQuarantined, events.ReplicaHalted: events.VerbHalted,
	}[r.State]
	if r.State == events.ReplicaReady && (was == events.ReplicaCopying || was == events.ReplicaCatchingUp || was == events.ReplicaWaiting) {
		verb = events.VerbFilled
	}
	about := r.Table + "." + r.Shard
	if r.State == events.ReplicaReady {
		maps.DeleteFunc(srv.published, func(key, _ string) bool { return strings.HasPrefix(key, about+" ") })
	}
	if verb == "" || was == r.State {
		return nil
	}
	reason := cmp.Or(r.Detail, r.State)
	if r.State != events.ReplicaReady {
		this := r.Applied.String() + " " + reason
		if srv.published[about+" "+verb] == this {
			return nil
		}
		if srv.published == nil {
			srv.published = map[string]string{}
		}
		srv.published[about+" "+verb] = this
	}
	return s.Emit(now, events.EntityShard, verb, about, map[string]any{
		"server": srv.Heartbeat.Server, "applied_seq": r.Applied.Seq, "log": r.Applied.Incarnation, "reason": reason,
	})
}

// ForgetHeartbeats drops what a server reported before its restart, also what is
// still on its way.
func (s *State) ForgetHeartbeats(name string, now time.Time) {
	next := &shardServer{Seen: now}
	if old := s.Servers[name]; old != nil && old.Heartbeat != nil {
		next.former = old.Heartbeat.Incarnation
	}
	s.Servers[name] = next
}
