package controller

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"ringway/events"
)

// replicaHealth is what the leader thinks of a replica.
type replicaHealth int

const (
	notReady  replicaHealth = iota // known not to be ready
	suspected                      // was ready, and is silent
	ready
)

// routeTables brings each table's route in line with who can serve.
func (s *state) routeTables(now time.Time) (effects []effect) {
	for _, name := range sorted(s.tables) {
		have := s.tableRoutes[name]
		next, whole := s.nextTableRoute(s.tables[name].value, have, now)
		if have == nil && !whole || have != nil && sameTableRoute(have.value, next) {
			continue
		}
		cause := s.tableRouteEvents(now, have, next)
		// The value has to fit one message; what has no room in it is told beside it.
		more := cause[min(len(cause), maxCarriedEvents):]
		next.Decision = s.because(cause[:len(cause)-len(more)]...)
		effects = append(effects, putTableRoute{value: next})
		for _, e := range more {
			effects = append(effects, emit{event: e})
		}
	}
	return effects
}

// nextTableRoute is what routers should obey now. It is whole when every log
// is made. A shard whose log is not is as it was, or not there yet.
func (s *state) nextTableRoute(db events.Database, have *stored[events.TableRoute], now time.Time) (next events.TableRoute, whole bool) {
	var was events.TableRoute
	if have != nil {
		was = have.value
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
		route := s.shardRoute(db.Table.Name, kept[sh.ID], log, old)
		for _, r := range route.Replicas {
			reachable[r.Server] = reachable[r.Server] || r.Ready
		}
		next.Shards = append(next.Shards, route)
	}
	s.chooseResponders(db.Table.Name, former, next.Shards, now)
	for _, srv := range db.Servers {
		line := events.TableServer{Name: srv.Name, ID: srv.ID, Host: srv.Host, Shards: append([]string{}, srv.Shards...)}
		line.Address = s.serverAddress(srv, &was, reachable[srv.Name])
		next.Servers = append(next.Servers, line)
	}
	return next, whole
}

// shardRoute judges the replicas of a shard. Suspicion alone never takes out
// the last that is ready; a death does.
func (s *state) shardRoute(table string, servers []events.ShardServer, log events.ShardLog, was events.ShardRoute) events.ShardRoute {
	route := events.ShardRoute{Shard: log.Shard, Log: log, Replicas: []events.ShardReplica{}}
	slices.SortFunc(servers, func(a, b events.ShardServer) int { return cmp.Compare(a.ID, b.ID) })
	var best replicaHealth
	var found []replicaHealth
	for _, srv := range servers {
		st, _ := s.replicaHealth(srv, table, log, was)
		best = max(best, st)
		found = append(found, st)
	}
	for i, srv := range servers {
		route.Replicas = append(route.Replicas, events.ShardReplica{Server: srv.Name, Ready: found[i] != notReady && found[i] == best})
	}
	return route
}

// replicaHealth judges one replica of a shard, and says why it is not ready. The
// shard server's own heartbeat decides: its health endpoint answers long
// before it can serve, and its agent may be away while it serves.
func (s *state) replicaHealth(srv events.ShardServer, table string, log events.ShardLog, was events.ShardRoute) (replicaHealth, string) {
	wasReady := was.Log.Incarnation == log.Incarnation && slices.ContainsFunc(was.Replicas, func(r events.ShardReplica) bool { return r.Server == srv.Name && r.Ready })
	suspectedIfReady := func(why string) (replicaHealth, string) {
		if wasReady {
			return suspected, why
		}
		return notReady, why
	}
	if !s.assignedHome(srv) {
		return notReady, "not assigned to a host"
	}
	h := s.hosts[srv.Host]
	if h != nil && h.heartbeat != nil {
		st, ok := h.status(srv.Name)
		switch {
		case !ok:
			return notReady, "host " + srv.Host + " does not have it"
		case st.State != events.Ready:
			return notReady, orElse(st.Detail, st.State)
		case st.Address == "":
			return notReady, "it has no address"
		}
	} else if !wasReady {
		return notReady, "host " + srv.Host + " has not been heard"
	}
	observed := s.servers[srv.Name]
	switch {
	case observed == nil:
		return notReady, "it has not been heard"
	case observed.heartbeat == nil && observed.silent:
		return suspectedIfReady("it has not been heard")
	case observed.heartbeat == nil && !wasReady:
		return notReady, "it has not been heard"
	case observed.heartbeat != nil:
		r, ok := observed.heartbeat.Replica(table, log.Shard)
		switch {
		case !ok:
			return notReady, "it does not know of the shard yet"
		case r.State != events.ReplicaReady:
			return notReady, orElse(r.Detail, r.State)
		case r.Applied.Incarnation != log.Incarnation:
			return notReady, "it follows another log"
		case observed.silent:
			return suspectedIfReady("it is silent")
		}
	}
	if h != nil && h.state == events.Lost {
		return suspectedIfReady("host " + srv.Host + " is lost")
	}
	if srv.Stopping() { // it serves until another does
		return suspected, "it is to be started anew: " + srv.Renewal.Why
	}
	return ready, ""
}

// currentHealth is standing, against the route as it is.
func (s *state) currentHealth(srv events.ShardServer, table string, log events.ShardLog) (replicaHealth, string) {
	was := events.ShardRoute{}
	if r, ok := s.tableRoutes[table]; ok {
		was, _ = r.value.Shard(log.Shard)
	}
	return s.replicaHealth(srv, table, log, was)
}

// confirmedReady reports whether a replica is ready beyond doubt.
func (s *state) confirmedReady(srv events.ShardServer, table string, log events.ShardLog) bool {
	st, _ := s.currentHealth(srv, table, log)
	observed := s.servers[srv.Name]
	return st == ready && observed.heartbeat != nil
}

func (s *state) serverAddress(srv events.ShardServer, was *events.TableRoute, ready bool) string {
	h := s.hosts[srv.Host]
	if h == nil || h.heartbeat == nil {
		old, _ := was.Server(srv.Name)
		return old.Address
	}
	if st, ok := h.status(srv.Name); ok && st.State == events.Ready && (ready || h.state == events.Alive) {
		return st.Address
	}
	return ""
}

// chooseResponders names the replica of each shard that commits at once. It stays
// while it is ready and not stuck; else it is the one that is ahead, and among
// equals the one whose server has the fewest such tasks. Then tasks go one by one from a
// server to another that has at least two fewer: the first to be ready, or to
// be left, would keep them all.
func (s *state) chooseResponders(table string, was map[string]events.ShardRoute, shards []events.ShardRoute, now time.Time) {
	tasks := map[string]int{}
	for i := range shards {
		if old, ok := was[shards[i].Shard]; ok && isReady(shards[i], old.Responder) && !s.stalled(old.Responder, table, old.Shard, now) {
			shards[i].Responder = old.Responder
			tasks[old.Responder]++
		}
	}
	for i := range shards {
		if shards[i].Responder != "" {
			continue
		}
		var ahead uint64
		for _, r := range shards[i].Replicas {
			if !r.Ready {
				continue
			}
			st, _ := s.reported(r.Server, table, shards[i].Shard)
			best := shards[i].Responder
			if best == "" || st.Applied.Seq > ahead || st.Applied.Seq == ahead && tasks[r.Server] < tasks[best] {
				shards[i].Responder, ahead = r.Server, st.Applied.Seq
			}
		}
		tasks[shards[i].Responder]++
	}
	for i := range shards {
		at, _ := s.reported(shards[i].Responder, table, shards[i].Shard)
		for _, r := range shards[i].Replicas {
			st, fresh := s.reported(r.Server, table, shards[i].Shard)
			if r.Ready && fresh && st.Applied.Seq >= at.Applied.Seq && tasks[r.Server]+1 < tasks[shards[i].Responder] {
				tasks[shards[i].Responder]--
				tasks[r.Server]++
				shards[i].Responder = r.Server
			}
		}
	}
}

func isReady(sh events.ShardRoute, server string) bool {
	return slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Server == server && r.Ready })
}

func sameTableRoute(a, b events.TableRoute) bool {
	a.Decision, b.Decision = events.Decision{}, events.Decision{}
	return reflect.DeepEqual(a, b)
}

// onlyReachabilityChanged reports whether nothing is new but that servers have a host, or can
// be reached, or no longer: what is told of them and of their replicas says so.
func onlyReachabilityChanged(was, next events.TableRoute) bool {
	next.Servers = slices.Clone(next.Servers)
	for i := range next.Servers {
		line := &next.Servers[i]
		old, known := was.Server(line.Name)
		if known && (old.Address == "" || line.Address == "") {
			line.Address = old.Address
		}
		if known && old.Host == "" {
			line.Host = ""
		}
	}
	return sameTableRoute(was, next)
}

// tableRouteEvents tells which replicas came and went, and who is eager.
func (s *state) tableRouteEvents(now time.Time, have *stored[events.TableRoute], next events.TableRoute) []events.Event {
	var was events.TableRoute
	if have != nil {
		was = have.value
		if onlyReachabilityChanged(was, next) {
			return nil
		}
	}
	db := s.tables[next.Table.Name].value
	total, serving := 0, 0
	var list []events.Event
	for _, sh := range next.Shards {
		old, _ := was.Shard(sh.Shard)
		add := func(verb, server, why string) {
			list = append(list, s.event(now, events.EntityShard, verb, next.Table.Name+"."+sh.Shard, map[string]any{"server": server, "reason": why}))
		}
		for _, r := range sh.Replicas {
			total++
			if r.Ready {
				serving++
			}
			switch before := isReady(old, r.Server); {
			case r.Ready && !before:
				add(events.VerbReady, r.Server, "it is level with the log")
			case !r.Ready && before:
				srv, _ := serverOf(db, r.Server)
				_, why := s.replicaHealth(srv, next.Table.Name, sh.Log, old)
				add(events.VerbUnready, r.Server, why)
			}
		}
		for _, r := range old.Replicas {
			if r.Ready && !slices.ContainsFunc(sh.Replicas, func(n events.ShardReplica) bool { return n.Server == r.Server }) {
				add(events.VerbUnready, r.Server, "it is replaced or removed")
			}
		}
		if sh.Responder != old.Responder {
			why := "no replica was ready just before"
			switch {
			case old.Shard == "":
				why = "it is ready in the first route of the shard"
			case sh.Responder == "":
				why = "no replica is ready"
			case s.stalled(old.Responder, next.Table.Name, sh.Shard, now):
				why = old.Responder + " stays where it is while others go on"
			case isReady(sh, old.Responder):
				why = old.Responder + " does so for more shards"
			case old.Responder != "":
				why = old.Responder + " is no longer ready"
			}
			add(events.VerbResponder, sh.Responder, why)
		}
	}
	changed := s.event(now, events.EntityRoute, events.VerbChanged, next.Table.Name, map[string]any{
		"table": next.Table.Name, "servers": len(next.Servers), "replicas": total, "ready": serving,
	})
	return append([]events.Event{changed}, list...)
}
