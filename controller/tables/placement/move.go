package placement

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// MoveServers fills what a host that is lost for long keeps of shards
// elsewhere, one copy of a shard at a time, and goes back to the old data if
// the host returns before that is done.
func MoveServers(s *cluster.State, now time.Time) []cluster.Effect {
	if s.Isolated(now) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := cluster.CloneTable(s.Tables[name].Value)
		for i, srv := range db.Servers {
			next, why := srv, ""
			switch {
			case srv.Was != nil && cluster.AllReady(s, db, srv):
				next.Was = nil
			case srv.Was != nil && s.HostAlive(srv.Was.Host):
				why = fmt.Sprintf("host %s returned with its data before %s was filled", srv.Was.Host, srv.Name)
				next.Volume, next.Host, next.Was = srv.Was.ID, srv.Was.Host, nil
			case mustMove(s, db, srv, now):
				why = fmt.Sprintf("host %s is lost for %s", srv.Host, s.Cfg.MoveAfter)
				if next.Was == nil { // what was never filled is worth less than what was
					next.Was = &events.Volume{ID: srv.Volume, Host: srv.Host}
				}
				next.Volume, next.Host = cluster.FreshVolume(), ""
			default:
				continue
			}
			db.Decision = s.Because()
			if why != "" {
				next.Name = cluster.FreshServer(s)
				next.Behind = next.Behind || next.Renewal != nil // the lost host is no failure of the new configuration
				next.Renewal = nil
				db.Decision = s.Because(s.Event(now, events.EntityInstance, events.VerbReplaced, srv.Name, map[string]any{
					"table": name, "id": srv.ID, "by": next.Name, "host": srv.Host, "volume": srv.Volume, "reason": why}))
			}
			db.Servers[i] = next
			return []cluster.Effect{cluster.PutTable{Value: db}} // the next one depends on it
		}
	}
	return nil
}

// mustMove reports whether a shard server shall be filled elsewhere now: its
// host is lost for long, it sends no heartbeats itself, and each of its shards has
// another copy that is ready and none that is being filled.
func mustMove(s *cluster.State, db events.Database, srv events.ShardServer, now time.Time) bool {
	if h := s.Hosts[srv.Host]; srv.Host == "" || h != nil && (h.State != events.Lost || s.Silence(h.Seen, now) < s.Cfg.MoveAfter) || h == nil && now.Sub(s.Since) < s.Cfg.MoveAfter {
		return false
	}
	if observed := s.Servers[srv.Name]; observed != nil && observed.Heartbeat != nil && !observed.Silent || len(s.Alive()) == 0 {
		return false
	}
	for _, shard := range srv.Shards {
		safe := false
		for _, other := range cluster.ServersOf(db, shard) {
			if other.ID == srv.ID {
				continue
			}
			if filling(s, db, other, shard) {
				return false
			}
			safe = safe || cluster.ConfirmedReady(s, db, other, shard)
		}
		if !safe {
			return false
		}
	}
	return true
}

// filling reports whether a server's copy of a shard is on its way.
func filling(s *cluster.State, db events.Database, srv events.ShardServer, shard string) bool {
	reported, fresh := s.Reported(srv.Name, db.Table.Name, shard)
	return srv.Was != nil || fresh && (reported.State == events.ReplicaWaiting || reported.State == events.ReplicaCopying || reported.State == events.ReplicaQuarantined)
}
