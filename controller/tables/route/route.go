// Package route decides the route of a table: which replicas of a shard serve,
// and which of them answers writers.
package route

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// serversByShard lists the servers that shall keep each shard.
func serversByShard(db events.Database) map[string][]events.ShardServer {
	kept := map[string][]events.ShardServer{}
	for _, srv := range db.Servers {
		for _, id := range srv.Shards {
			kept[id] = append(kept[id], srv)
		}
	}
	return kept
}

func logsOf(db events.Database) map[string]events.ShardLog {
	logs := map[string]events.ShardLog{}
	for _, l := range db.Logs {
		logs[l.Shard] = l
	}
	return logs
}

// Update brings each table's route in line with who can serve.
func Update(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		have := s.TableRoutes[name]
		next, whole := next(s, s.Tables[name].Value, have, now)
		if have == nil && !whole || have != nil && Same(have.Value, next) {
			continue
		}
		cause := changes(s, now, have, next)
		// The value has to fit one message; further events are emitted beside it.
		more := cause[min(len(cause), cluster.MaxCarriedEvents):]
		next.Decision = s.Because(cause[:len(cause)-len(more)]...)
		effects = append(effects, cluster.PutTableRoute{Value: next})
		for _, e := range more {
			effects = append(effects, cluster.Emit{Event: e})
		}
	}
	return effects
}

// next is the route that follows from what is known. It is whole when every log
// is created. A shard whose log is not is as it was, or not there yet.
func next(s *cluster.State, db events.Database, have *cluster.Stored[events.TableRoute], now time.Time) (next events.TableRoute, whole bool) {
	var was events.TableRoute
	if have != nil {
		was = have.Value
	}
	whole = true
	next = events.TableRoute{Table: db.Table, Servers: []events.TableServer{}, Shards: []events.ShardRoute{}}
	next.Table.Shards = []events.Shard{}
	reachable, kept, logs, former := map[string]bool{}, serversByShard(db), logsOf(db), map[string]events.ShardRoute{}
	for _, sh := range was.Shards {
		former[sh.Shard] = sh
	}
	for _, sh := range db.Table.Shards {
		log := logs[sh.ID]
		old, known := former[sh.ID]
		if !log.Made {
			whole = false
			if !known {
				continue
			}
			log = old.Log
		}
		next.Table.Shards = append(next.Table.Shards, sh)
		route := shardRoute(s, db.Table.Name, kept[sh.ID], log, old)
		for _, r := range route.Replicas {
			reachable[r.Server] = reachable[r.Server] || r.Ready
		}
		next.Shards = append(next.Shards, route)
	}
	chooseResponders(s, db.Table.Name, former, next.Shards, now)
	for _, srv := range db.Servers {
		line := events.TableServer{Name: srv.Name, ID: srv.ID, Host: srv.Host, Shards: append([]string{}, srv.Shards...)}
		line.Address = serverAddress(s, srv, &was, reachable[srv.Name])
		next.Servers = append(next.Servers, line)
	}
	return next, whole
}

// shardRoute judges the replicas of a shard. Suspicion alone never takes out
// the last that is ready; a death does.
func shardRoute(s *cluster.State, table string, servers []events.ShardServer, log events.ShardLog, was events.ShardRoute) events.ShardRoute {
	route := events.ShardRoute{Shard: log.Shard, Log: log, Replicas: []events.ShardReplica{}}
	slices.SortFunc(servers, cluster.ByServerID)
	var best cluster.Health
	var found []cluster.Health
	for _, srv := range servers {
		st, _ := cluster.HealthOf(s, srv, table, log, was)
		best = max(best, st)
		found = append(found, st)
	}
	for i, srv := range servers {
		route.Replicas = append(route.Replicas, events.ShardReplica{Server: srv.Name, Ready: found[i] != cluster.NotReady && found[i] == best})
	}
	return route
}

func serverAddress(s *cluster.State, srv events.ShardServer, was *events.TableRoute, ready bool) string {
	h := s.Hosts[srv.Host]
	if h == nil || h.Heartbeat == nil {
		old, _ := was.Server(srv.Name)
		return old.Address
	}
	if st, ok := h.Status(srv.Name); ok && st.State == events.Ready && (ready || h.State == events.Alive) {
		return st.Address
	}
	return ""
}

// Serves reports whether any replica on a shard server is ready.
func Serves(route events.TableRoute, server string) bool {
	return slices.ContainsFunc(route.Shards, func(sh events.ShardRoute) bool { return cluster.IsReady(sh, server) })
}
