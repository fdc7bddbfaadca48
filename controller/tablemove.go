package controller

import (
	"fmt"
	"time"

	"ringway/events"
)

// moveServers fills what a host that is lost for long keeps of shards
// elsewhere, one copy of a shard at a time, and goes back to the old data if
// the host returns before that is done.
func (s *state) moveServers(now time.Time) []effect {
	if s.isolated(now) {
		return nil
	}
	for _, name := range sorted(s.tables) {
		db := cloneTable(s.tables[name].value)
		for i, srv := range db.Servers {
			next, why := srv, ""
			switch {
			case srv.Was != nil && s.allReady(db, srv):
				next.Was = nil
			case srv.Was != nil && s.hostAlive(srv.Was.Host):
				why = fmt.Sprintf("host %s returned with its data before %s was filled", srv.Was.Host, srv.Name)
				next.Volume, next.Host, next.Was = srv.Was.ID, srv.Was.Host, nil
			case s.mustMove(db, srv, now):
				why = fmt.Sprintf("host %s is lost for %s", srv.Host, s.cfg.MoveAfter)
				if next.Was == nil { // what was never filled is worth less than what was
					next.Was = &events.Volume{ID: srv.Volume, Host: srv.Host}
				}
				next.Volume, next.Host = freshVolume(), ""
			default:
				continue
			}
			db.Decision = s.because()
			if why != "" {
				next.Name = s.freshServer()
				next.Behind = next.Behind || next.Renewal != nil // its host is gone; that says nothing of the change
				next.Renewal = nil
				db.Decision = s.because(s.event(now, events.EntityInstance, events.VerbReplaced, srv.Name, map[string]any{
					"table": name, "id": srv.ID, "by": next.Name, "host": srv.Host, "volume": srv.Volume, "reason": why}))
			}
			db.Servers[i] = next
			return []effect{putTable{value: db}} // the next one depends on it
		}
	}
	return nil
}

// mustMove reports whether a shard server shall be filled elsewhere now: its
// host is lost for long, it does not speak itself, and each of its shards has
// another copy that is ready and none that is being filled.
func (s *state) mustMove(db events.Database, srv events.ShardServer, now time.Time) bool {
	if h := s.hosts[srv.Host]; srv.Host == "" || h != nil && (h.state != events.Lost || s.silence(h.seen, now) < s.cfg.MoveAfter) || h == nil && now.Sub(s.since) < s.cfg.MoveAfter {
		return false
	}
	if observed := s.servers[srv.Name]; observed != nil && observed.heartbeat != nil && !observed.silent || len(s.alive()) == 0 {
		return false
	}
	for _, shard := range srv.Shards {
		log, _ := db.Log(shard)
		safe := false
		for _, other := range serversOf(db, shard) {
			if other.ID == srv.ID {
				continue
			}
			if s.filling(db, other, shard) {
				return false
			}
			safe = safe || s.confirmedReady(other, db.Table.Name, log)
		}
		if !safe {
			return false
		}
	}
	return true
}

// filling reports whether a server's copy of a shard is on its way.
func (s *state) filling(db events.Database, srv events.ShardServer, shard string) bool {
	reported, fresh := s.reported(srv.Name, db.Table.Name, shard)
	return srv.Was != nil || fresh && (reported.State == events.ReplicaWaiting || reported.State == events.ReplicaCopying || reported.State == events.ReplicaQuarantined)
}

// allReady reports whether all replicas on a server are ready.
func (s *state) allReady(db events.Database, srv events.ShardServer) bool {
	for _, shard := range srv.Shards {
		if log, _ := db.Log(shard); !s.confirmedReady(srv, db.Table.Name, log) {
			return false
		}
	}
	return true
}

func (s *state) hostAlive(host string) bool {
	h := s.hosts[host]
	return h != nil && h.heartbeat != nil && h.state == events.Alive
}
