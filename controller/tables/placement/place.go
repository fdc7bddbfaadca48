// Package placement decides where the volumes of shard servers lie and which
// shards each keeps, and fills them elsewhere when a host is lost.
package placement

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// What every shard server is started with.
const (
	serverHealth = "/heartbeat"
	serverGrace  = 40 * time.Second // a database server writes out what it has in memory
)

// PlaceVolumes chooses the host on which the data of a new shard server will lie.
// That is stored before anything is started there.
func PlaceVolumes(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	if !s.ReadyToPlace(now) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := cluster.CloneTable(s.Tables[name].Value)
		changed := false
		for i := range db.Servers {
			if db.Servers[i].Host == "" {
				db.Servers[i].Host = chooseHost(s, db, db.Servers[i])
				changed = changed || db.Servers[i].Host != ""
			}
		}
		if changed {
			db.Decision = s.Because()
			effects = append(effects, cluster.PutTable{Value: db})
		}
	}
	return effects
}

// chooseHost finds the live host that keeps the fewest copies of the same
// shards, and of these the one with the least to do.
func chooseHost(s *cluster.State, db events.Database, srv events.ShardServer) string {
	best, fewest := "", [2]int{}
	for _, at := range s.Alive() {
		load := [2]int{0, len(s.Assignment(at).Instances)}
		for _, other := range db.Servers {
			if other.Host != at || other.ID == srv.ID {
				continue
			}
			if !s.AssignedHome(other) {
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

// Place assigns each shard server to the host that has its data.
func Place(s *cluster.State, next *cluster.Placements, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := s.Tables[name].Value
		for _, srv := range db.Servers {
			h := s.Hosts[srv.Host]
			if h == nil || h.Heartbeat == nil || h.State != events.Alive {
				continue
			}
			if s.AssignedHome(srv) || srv.Stopping() || next.Full(srv.Host) {
				continue
			}
			next.Add(srv.Host, serverSpec(db, srv), s.Event(now, events.EntityInstance, events.VerbAssigned, srv.Name, map[string]any{
				"table": name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume, "shards": srv.Shards}))
		}
	}
}

func serverSpec(db events.Database, srv events.ShardServer) events.InstanceSpec {
	spec := db.Runs(srv)
	return events.InstanceSpec{
		Name: srv.Name, Service: db.Table.Name, ID: srv.ID, Kind: events.KindShard, Volume: srv.Volume,
		Engine: spec.Engine, Env: spec.Env, Image: spec.Image, Limits: spec.Limits,
		Health: serverHealth, Grace: events.Duration(serverGrace),
	}
}

// OutOfRoute reports whether every router serves a route without a shard server
// that is not wanted any more.
func OutOfRoute(s *cluster.State, i events.InstanceSpec, now time.Time) (string, bool) {
	route, ok := s.TableRoutes[i.Service]
	if !ok {
		return "never routed to", true
	}
	if _, there := route.Value.Server(i.Name); there || !s.TableServed(i.Service, route.Version, now) {
		return "", false
	}
	return "out of the route", true
}
