package controller

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ringway/events"
)

// What every shard server is started with.
const (
	serverHealth = "/heartbeat"
	serverGrace  = 40 * time.Second // a database server writes out what it has in memory
)

// placeVolumes chooses the host on which the data of a new shard server will lie.
// That is stored before anything is started there.
func (s *state) placeVolumes(now time.Time) (effects []effect) {
	if !s.readyToPlace(now) {
		return nil
	}
	for _, name := range sorted(s.tables) {
		db := cloneTable(s.tables[name].value)
		changed := false
		for i := range db.Servers {
			if db.Servers[i].Host == "" {
				db.Servers[i].Host = s.chooseHost(db, db.Servers[i])
				changed = changed || db.Servers[i].Host != ""
			}
		}
		if changed {
			db.Decision = s.because()
			effects = append(effects, putTable{value: db})
		}
	}
	return effects
}

// chooseHost finds the live host that keeps the fewest copies of the same
// shards, and of these the one with the least to do.
func (s *state) chooseHost(db events.Database, srv events.ShardServer) string {
	best, fewest := "", [2]int{}
	for _, at := range s.alive() {
		load := [2]int{0, len(s.assignment(at).Instances)}
		for _, other := range db.Servers {
			if other.Host != at || other.ID == srv.ID {
				continue
			}
			if !s.assignedHome(other) {
				load[1]++
			}
			for _, id := range other.Shards {
				if slices.Contains(srv.Shards, id) {
					load[0]++
				}
			}
		}
		if best == "" || slices.Compare(load[:], fewest[:]) < 0 {
			best, fewest = at, load
		}
	}
	return best
}

// placeServers assigns each shard server to the host that has its data.
func (s *state) placeServers(next *placements, now time.Time) {
	for _, name := range sorted(s.tables) {
		db := s.tables[name].value
		for _, srv := range db.Servers {
			h := s.hosts[srv.Host]
			if h == nil || h.heartbeat == nil || h.state != events.Alive {
				continue
			}
			if s.assignedHome(srv) || srv.Stopping() {
				continue
			}
			next.add(srv.Host, serverSpec(db, srv), s.event(now, events.EntityInstance, events.VerbAssigned, srv.Name, map[string]any{
				"table": name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume, "shards": srv.Shards}))
		}
	}
}

// assignedHome reports whether a shard server is assigned to the host that has
// its data.
func (s *state) assignedHome(srv events.ShardServer) bool {
	a, ok := s.assigned[srv.Host]
	return ok && assignedIn(a.value, srv.Name)
}

func serverSpec(db events.Database, srv events.ShardServer) events.InstanceSpec {
	spec := db.Runs(srv)
	return events.InstanceSpec{
		Name: srv.Name, Service: db.Table.Name, ID: srv.ID, Kind: events.KindShard, Volume: srv.Volume,
		Engine: spec.Engine, Env: spec.Env, Image: spec.Image, Limits: spec.Limits,
		Health: serverHealth, Grace: events.Duration(serverGrace),
	}
}

// outOfRoute reports whether every router obeys a route without a shard server
// that is not wanted any more.
func (s *state) outOfRoute(i events.InstanceSpec, now time.Time) (string, bool) {
	route, ok := s.tableRoutes[i.Service]
	if !ok {
		return "never routed to", true
	}
	if _, there := route.value.Server(i.Name); there || !s.tableServed(i.Service, route.version, now) {
		return "", false
	}
	return "out of the route", true
}

// replaceServers gives the place of a dead shard server to a new one, with its
// shards and its data.
func (s *state) replaceServers(now time.Time) (effects []effect) {
	for _, name := range sorted(s.tables) {
		db := cloneTable(s.tables[name].value)
		var cause []events.Event
		for i, old := range db.Servers {
			why := s.serverFailed(old, now)
			place := replicaKey{service: name, id: old.ID}
			// One that is renewed comes back under its name.
			if why == "" || old.Renewal != nil || !s.mayReplace(place, now) {
				continue
			}
			s.recordFailure(place, now)
			db.Servers[i].Name = s.freshServer()
			about := map[string]any{"table": name, "id": old.ID, "host": old.Host, "volume": old.Volume, "reason": why}
			cause = append(cause,
				s.event(now, events.EntityInstance, events.VerbDied, old.Name, about),
				s.event(now, events.EntityInstance, events.VerbReplaced, old.Name, with(about, "by", db.Servers[i].Name)))
		}
		if len(cause) > 0 {
			db.Decision = s.because(cause...)
			effects = append(effects, putTable{value: db})
		}
	}
	return effects
}

// serverFailed says why a shard server has to be replaced where it is.
func (s *state) serverFailed(srv events.ShardServer, now time.Time) string {
	h := s.hosts[srv.Host]
	if !s.assignedHome(srv) || h == nil || h.state == events.Lost {
		return ""
	}
	status, ok := h.status(srv.Name)
	switch {
	case ok && status.State == events.Dead:
		return cmp.Or(status.Detail, "it ended")
	case ok && status.State == events.Unready && now.Sub(s.unready[srv.Name]) >= s.cfg.ReplaceUnreadyAfter:
		return fmt.Sprintf("not ready for %s: %s", s.cfg.ReplaceUnreadyAfter, status.Detail)
	}
	return ""
}

func with(m map[string]any, key string, value any) map[string]any {
	out := map[string]any{key: value}
	for k, v := range m {
		out[k] = v
	}
	return out
}
