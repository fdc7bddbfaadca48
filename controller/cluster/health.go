package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ringway/events"
)

// Stalled reports whether a replica has stayed behind for so long that its
// database must hang, although its shard server sends heartbeats.
func Stalled(s *State, server, table, shard string, now time.Time) bool {
	srv := s.Servers[server]
	if srv == nil {
		return false
	}
	since, behind := srv.stalledSince[table+"."+shard]
	return behind && now.Sub(since) >= s.Cfg.SuspectAfter
}

// Failure is why an instance on h has to be replaced by its agent's heartbeat, if
// it has to: it is dead, or has not been ready for long.
func (s *State) Failure(h *Host, instance string, now time.Time) string {
	status, ok := h.Status(instance)
	switch {
	case ok && status.State == events.Dead:
		return cmp.Or(status.Detail, "it ended")
	case ok && status.State == events.Unready && now.Sub(s.Unready[instance]) >= s.Cfg.ReplaceUnreadyAfter:
		return fmt.Sprintf("not ready for %s: %s", s.Cfg.ReplaceUnreadyAfter, status.Detail)
	}
	return ""
}

// Reported is the last reported status of a replica; fresh if its shard server is
// not silent.
func (s *State) Reported(server, table, shard string) (r events.ReplicaStatus, fresh bool) {
	srv := s.Servers[server]
	if srv == nil || srv.Heartbeat == nil {
		return r, false
	}
	r, ok := srv.Heartbeat.Replica(table, shard)
	return r, ok && !srv.Silent
}

// AllReady reports whether all replicas on a server are ready.
func AllReady(s *State, db events.Database, srv events.ShardServer) bool {
	return !slices.ContainsFunc(srv.Shards, func(shard string) bool { return !ConfirmedReady(s, db, srv, shard) })
}

func (s *State) HostAlive(host string) bool {
	h := s.Hosts[host]
	return h != nil && h.Heartbeat != nil && h.State == events.Alive
}

// Health is what the leader thinks of a replica.
type Health int

const (
	NotReady  Health = iota // known not to be ready
	suspected               // was ready, and is silent
	Ready
)

// HealthOf is the health of one replica of a shard, and why it is not ready. The
// shard server's own heartbeat decides: its health endpoint answers long
// before it can serve, and its agent may be away while it serves.
func HealthOf(s *State, srv events.ShardServer, table string, log events.ShardLog, was events.ShardRoute) (Health, string) {
	wasReady := was.Log.Incarnation == log.Incarnation && IsReady(was, srv.Name)
	suspectedIfReady := func(why string) (Health, string) {
		if wasReady {
			return suspected, why
		}
		return NotReady, why
	}
	if !s.AssignedHome(srv) {
		return NotReady, "not assigned to a host"
	}
	h := s.Hosts[srv.Host]
	if h != nil && h.Heartbeat != nil {
		st, ok := h.Status(srv.Name)
		switch {
		case !ok:
			return NotReady, "host " + srv.Host + " does not have it"
		case st.State != events.Ready:
			return NotReady, cmp.Or(st.Detail, st.State)
		case st.Address == "":
			return NotReady, "it has no address"
		}
	} else if !wasReady {
		return NotReady, "host " + srv.Host + " has not been heard"
	}
	observed := s.Servers[srv.Name]
	switch {
	case observed == nil:
		return NotReady, "it has not been heard"
	case observed.Heartbeat == nil && observed.Silent:
		return suspectedIfReady("it has not been heard")
	case observed.Heartbeat == nil && !wasReady:
		return NotReady, "it has not been heard"
	case observed.Heartbeat != nil:
		r, ok := observed.Heartbeat.Replica(table, log.Shard)
		switch {
		case !ok:
			return NotReady, "it does not know of the shard yet"
		case r.State != events.ReplicaReady:
			return NotReady, cmp.Or(r.Detail, r.State)
		case r.Applied.Incarnation != log.Incarnation:
			return NotReady, "it follows another log"
		case observed.Silent:
			return suspectedIfReady("it is silent")
		}
	}
	if h != nil && h.State == events.Lost {
		return suspectedIfReady("host " + srv.Host + " is lost")
	}
	if srv.Stopping() { // it serves until another does
		return suspected, "it is to be started anew: " + srv.Renewal.Why
	}
	return Ready, ""
}

// CurrentHealth is the health against the route as it is.
func CurrentHealth(s *State, db events.Database, srv events.ShardServer, shard string) (Health, string) {
	log, _ := db.Log(shard)
	was := events.ShardRoute{}
	if r, ok := s.TableRoutes[db.Table.Name]; ok {
		was, _ = r.Value.Shard(shard)
	}
	return HealthOf(s, srv, db.Table.Name, log, was)
}

// ConfirmedReady reports whether a replica is ready by a heartbeat of this term.
func ConfirmedReady(s *State, db events.Database, srv events.ShardServer, shard string) bool {
	st, _ := CurrentHealth(s, db, srv, shard)
	observed := s.Servers[srv.Name]
	return st == Ready && observed.Heartbeat != nil
}
