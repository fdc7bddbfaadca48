package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// restartBlockedBy is why a server cannot be restarted now; empty if it can.
func restartBlockedBy(s *cluster.State, db events.Database, srv events.ShardServer, now time.Time) string {
	switch {
	case !s.AssignedHome(srv) || !s.HostAlive(srv.Host):
		return "host " + cmp.Or(srv.Host, "of "+srv.Name) + " is away"
	case srv.Was != nil || catchingUp(s, db, srv):
		return srv.Name + " is being filled"
	case servesNobody(s, db, srv):
		return ""
	}
	if missing := unreadyPeer(s, db, srv, true); missing != "" {
		return missing
	}
	if route, ok := s.TableRoutes[db.Table.Name]; !ok || !s.TableServed(db.Table.Name, route.Version, now) {
		return "a router serves an older route"
	}
	return ""
}

// unreadyPeer names a replica that is not ready of a shard that a server
// keeps, beside its own; surely: or that has sent no heartbeat yet.
func unreadyPeer(s *cluster.State, db events.Database, srv events.ShardServer, surely bool) string {
	for _, shard := range srv.Shards {
		log, _ := db.Log(shard)
		if !log.Made {
			return "the log of shard " + shard + " is not made"
		}
		for _, other := range cluster.ServersOf(db, shard) {
			if other.ID == srv.ID {
				continue
			}
			st, why := cluster.CurrentHealth(s, db, other, shard)
			if st != cluster.Ready || surely && !cluster.ConfirmedReady(s, db, other, shard) {
				return fmt.Sprintf("shard %s on %s is not ready: %s", shard, other.Name, cmp.Or(why, "it has not been heard"))
			}
		}
	}
	return ""
}

// servesNobody reports whether a server serves nobody.
func servesNobody(s *cluster.State, db events.Database, srv events.ShardServer) bool {
	return !slices.ContainsFunc(srv.Shards, func(shard string) bool {
		st, _ := cluster.CurrentHealth(s, db, srv, shard)
		return st != cluster.NotReady
	})
}

// catchingUp reports whether a replica on a server is on its way to be ready.
func catchingUp(s *cluster.State, db events.Database, srv events.ShardServer) bool {
	return slices.ContainsFunc(srv.Shards, func(shard string) bool {
		reported, fresh := s.Reported(srv.Name, db.Table.Name, shard)
		return fresh && (reported.State == events.ReplicaCopying || reported.State == events.ReplicaCatchingUp)
	})
}

// soleCopies lists the shards that a server serves and nobody else keeps.
func soleCopies(s *cluster.State, db events.Database, srv events.ShardServer) (shards []string) {
	for _, shard := range srv.Shards {
		if st, _ := cluster.CurrentHealth(s, db, srv, shard); st != cluster.NotReady && len(cluster.ServersOf(db, shard)) == 1 {
			shards = append(shards, shard)
		}
	}
	return shards
}

// Restarting finds the server that an instance is, if it is to be restarted.
func Restarting(s *cluster.State, i events.InstanceSpec, at string) (events.Database, events.ShardServer, bool) {
	db, ok := s.Tables[i.Service]
	if !ok || i.Kind != events.KindShard {
		return events.Database{}, events.ShardServer{}, false
	}
	srv, ok := cluster.ServerOf(db.Value, i.Name)
	return db.Value, srv, ok && srv.Host == at && srv.Stopping()
}

// MayStop reports whether a server that is to be restarted may end: the
// others serve its shards, and every router knows it.
func MayStop(s *cluster.State, db events.Database, srv events.ShardServer, now time.Time) (string, bool) {
	if s.Isolated(now) || !servesNobody(s, db, srv) && unreadyPeer(s, db, srv, true) != "" {
		return "", false
	}
	route, ok := s.TableRoutes[db.Table.Name]
	if !ok || !s.TableServed(db.Table.Name, route.Version, now) {
		return "", false
	}
	for _, sh := range route.Value.Shards {
		if cluster.IsReady(sh, srv.Name) && len(sh.Replicas) > 1 {
			return "", false
		}
	}
	return "it is started anew: " + srv.Renewal.Why, true
}

// hasStopped reports whether nothing of a server is left on its host, and nothing
// will be: its agent has applied an assignment without it.
func hasStopped(s *cluster.State, srv events.ShardServer) bool {
	a, ok := s.Assigned[srv.Host]
	if !ok || s.AssignedHome(srv) || !s.HostAlive(srv.Host) {
		return false
	}
	heartbeat := s.Hosts[srv.Host].Heartbeat
	_, there := s.Hosts[srv.Host].Status(srv.Name)
	return !there && (heartbeat.Assigned == a.Version || heartbeat.Assigned.After(a.Version))
}

// isRunning reports whether a server runs, by its agent.
func isRunning(s *cluster.State, srv events.ShardServer) bool {
	st, ok := s.Hosts[srv.Host].Status(srv.Name)
	return ok && st.State == events.Ready && s.AssignedHome(srv)
}
