package controller

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"ringway/events"
)

// standing is what the leader thinks of a replica.
type standing int

const (
	unfit   standing = iota // known not to be ready
	doubted                 // was ready, and is silent
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
		more := cause[min(len(cause), mostCarried):]
		next.Decision = s.because(cause[:len(cause)-len(more)]...)
		effects = append(effects, putTableRoute{next})
		for _, e := range more {
			effects = append(effects, emit{e})
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
	reachable, kept, logs, former := map[string]bool{}, keptBy(db), logsOf(db), map[string]events.ShardRoute{}
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
	s.chooseEager(db.Table.Name, former, next.Shards, now)
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
	var best standing
	var found []standing
	for _, srv := range servers {
		st, _ := s.standing(srv, table, log, was)
		best = max(best, st)
		found = append(found, st)
	}
	for i, srv := range servers {
		route.Replicas = append(route.Replicas, events.ShardReplica{Server: srv.Name, Ready: found[i] != unfit && found[i] == best})
	}
	return route
}

// standing judges one replica of a shard, and says why it is not ready. The
// shard server's own heartbeat decides: its health endpoint answers long
// before it can serve, and its agent may be away while it serves.
func (s *state) standing(srv events.ShardServer, table string, log events.ShardLog, was events.ShardRoute) (standing, string) {
	wasReady := was.Log.Incarnation == log.Incarnation && slices.ContainsFunc(was.Replicas, func(r events.ShardReplica) bool { return r.Server == srv.Name && r.Ready })
	orDoubted := func(why string) (standing, string) {
		if wasReady {
			return doubted, why
		}
		return unfit, why
	}
	if !s.assignedHome(srv) {
		return unfit, "not assigned to a host"
	}
	h := s.hosts[srv.Host]
	if h != nil && h.beat != nil {
		st, ok := h.status(srv.Name)
		switch {
		case !ok:
			return unfit, "host " + srv.Host + " does not have it"
		case st.State != events.Ready:
			return unfit, orElse(st.Detail, st.State)
		case st.Address == "":
			return unfit, "it has no address"
		}
	} else if !wasReady {
		return unfit, "host " + srv.Host + " has not been heard"
	}
	heard := s.servers[srv.Name]
	switch {
	case heard == nil:
		return unfit, "it has not been heard"
	case heard.beat == nil && heard.silent:
		return orDoubted("it has not been heard")
	case heard.beat == nil && !wasReady:
		return unfit, "it has not been heard"
	case heard.beat != nil:
		r, ok := heard.beat.Replica(table, log.Shard)
		switch {
		case !ok:
			return unfit, "it does not know of the shard yet"
		case r.State != events.ReplicaReady:
			return unfit, orElse(r.Detail, r.State)
		case r.Applied.Incarnation != log.Incarnation:
			return unfit, "it follows another log"
		case heard.silent:
			return orDoubted("it is silent")
		}
	}
	if h != nil && h.state == events.Lost {
		return orDoubted("host " + srv.Host + " is lost")
	}
	if srv.Stopping() { // it serves until another does
		return doubted, "it is to be started anew: " + srv.Renewal.Why
	}
	return ready, ""
}

// judge is standing, against the route as it is.
func (s *state) judge(srv events.ShardServer, table string, log events.ShardLog) (standing, string) {
	was := events.ShardRoute{}
	if r, ok := s.tableRoutes[table]; ok {
		was, _ = r.value.Shard(log.Shard)
	}
	return s.standing(srv, table, log, was)
}

// strong reports whether a replica is ready beyond doubt.
func (s *state) strong(srv events.ShardServer, table string, log events.ShardLog) bool {
	st, _ := s.judge(srv, table, log)
	heard := s.servers[srv.Name]
	return st == ready && heard.beat != nil
}

func (s *state) serverAddress(srv events.ShardServer, was *events.TableRoute, ready bool) string {
	h := s.hosts[srv.Host]
	if h == nil || h.beat == nil {
		old, _ := was.Server(srv.Name)
		return old.Address
	}
	if st, ok := h.status(srv.Name); ok && st.State == events.Ready && (ready || h.state == events.Alive) {
		return st.Address
	}
	return ""
}

// chooseEager names the replica of each shard that commits at once. It stays
// while it is ready and not stuck; else it is the one that is ahead, and among
// equals the one whose server has the fewest such tasks. Then tasks go one by one from a
// server to another that has at least two fewer: the first to be ready, or to
// be left, would keep them all.
func (s *state) chooseEager(table string, was map[string]events.ShardRoute, shards []events.ShardRoute, now time.Time) {
	tasks := map[string]int{}
	for i := range shards {
		if old, ok := was[shards[i].Shard]; ok && isReady(shards[i], old.Responder) && !s.stuck(old.Responder, table, old.Shard, now) {
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
			st, _ := s.said(r.Server, table, shards[i].Shard)
			best := shards[i].Responder
			if best == "" || st.Applied.Seq > ahead || st.Applied.Seq == ahead && tasks[r.Server] < tasks[best] {
				shards[i].Responder, ahead = r.Server, st.Applied.Seq
			}
		}
		tasks[shards[i].Responder]++
	}
	for i := range shards {
		at, _ := s.said(shards[i].Responder, table, shards[i].Shard)
		for _, r := range shards[i].Replicas {
			st, fresh := s.said(r.Server, table, shards[i].Shard)
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

// onlyReach reports whether nothing is new but that servers have a host, or can
// be reached, or no longer: what is told of them and of their replicas says so.
func onlyReach(was, next events.TableRoute) bool {
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
		if onlyReach(was, next) {
			return nil
		}
	}
	db := s.tables[next.Table.Name].value
	total, serving := 0, 0
	var told []events.Event
	for _, sh := range next.Shards {
		old, _ := was.Shard(sh.Shard)
		tell := func(verb, server, why string) {
			told = append(told, s.event(now, events.EntityShard, verb, next.Table.Name+"."+sh.Shard, map[string]any{"server": server, "reason": why}))
		}
		for _, r := range sh.Replicas {
			total++
			if r.Ready {
				serving++
			}
			switch before := isReady(old, r.Server); {
			case r.Ready && !before:
				tell(events.VerbReady, r.Server, "it is level with the log")
			case !r.Ready && before:
				srv, _ := serverOf(db, r.Server)
				_, why := s.standing(srv, next.Table.Name, sh.Log, old)
				tell(events.VerbUnready, r.Server, why)
			}
		}
		for _, r := range old.Replicas {
			if r.Ready && !slices.ContainsFunc(sh.Replicas, func(n events.ShardReplica) bool { return n.Server == r.Server }) {
				tell(events.VerbUnready, r.Server, "it is replaced or removed")
			}
		}
		if sh.Responder != old.Responder {
			why := "no replica was ready just before"
			switch {
			case old.Shard == "":
				why = "it is ready in the first route of the shard"
			case sh.Responder == "":
				why = "no replica is ready"
			case s.stuck(old.Responder, next.Table.Name, sh.Shard, now):
				why = old.Responder + " stays where it is while others go on"
			case isReady(sh, old.Responder):
				why = old.Responder + " does so for more shards"
			case old.Responder != "":
				why = old.Responder + " is no longer ready"
			}
			tell(events.VerbResponder, sh.Responder, why)
		}
	}
	changed := s.event(now, events.EntityRoute, events.VerbChanged, next.Table.Name, map[string]any{
		"table": next.Table.Name, "servers": len(next.Servers), "replicas": total, "ready": serving,
	})
	return append([]events.Event{changed}, told...)
}
