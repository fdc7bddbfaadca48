package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// rollout is of what shard servers run.
type rollout struct {
	s         *state
	restarted map[string]time.Time // servers that were restarted and are not ready: since when
}

func newRollout(s *state) *rollout { return &rollout{s: s, restarted: map[string]time.Time{}} }

// restartServers starts the shard servers of a table anew when what they are
// started with has changed: each under its name, on its host and its volume,
// and the next one only when all replicas of the one before are ready again.
// One that serves is stopped only while all other replicas of its shards are
// ready. If it does not get ready, it goes back to what it ran before, and the
// change is rolled out no further. How far this is, is stored: the next leader
// goes on with it.
func (t *rollout) restartServers(now time.Time) (effects []effect) {
	s := t.s
	if s.isolated(now) || !s.readyToPlace(now) {
		return nil
	}
	for _, name := range sorted(s.tables) {
		db := cloneTable(s.tables[name].value)
		cause, changed := t.advanceRestarts(&db, now)
		if !changed {
			cause, changed = s.startNextRestart(&db, now)
		}
		if changed {
			db.Decision = s.because(cause...)
			effects = append(effects, putTable{value: db})
		}
	}
	return effects
}

// advanceRestarts takes what is under way a step further.
func (t *rollout) advanceRestarts(db *events.Database, now time.Time) (cause []events.Event, changed bool) {
	s := t.s
	for i := range db.Servers {
		srv := &db.Servers[i]
		if srv.Renewal == nil {
			continue
		}
		add := func(verb, why string) {
			cause = append(cause, s.event(now, events.EntityInstance, verb, srv.Name, map[string]any{
				"table": db.Table.Name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume, "reason": why}))
		}
		if srv.Stopping() {
			switch missing := s.unreadyPeer(*db, *srv, false); {
			case s.hasStopped(*srv):
				srv.Renewal = &events.Renewal{Why: srv.Renewal.Why, Stopped: true}
				srv.Behind = db.Stuck != ""
				s.forgetHeartbeats(srv.Name, now)
				changed = true
			case missing != "" && db.Stuck == "" && s.assignedHome(*srv) && !s.servesNobody(*db, *srv):
				srv.Renewal, changed = nil, true
				add(events.VerbPostponed, missing)
			}
			continue
		}
		t.noteRestarted(*srv, now)
		why := t.restartFailed(*db, *srv, now)
		switch {
		case s.isRunning(*srv) && s.allReady(*db, *srv):
			add(events.VerbRenewed, srv.Renewal.Why)
			srv.Renewal = nil
			if !slices.ContainsFunc(db.Servers, func(other events.ShardServer) bool { return other.Behind }) {
				db.Before = nil
			}
		case why == "":
			continue
		case srv.Behind: // it went back, and that is no help either: like any other from now on
			srv.Renewal = nil
		default:
			db.Stuck = srv.Name + ", renewed with what is configured now, did not get ready: " + why
			srv.Behind, srv.Renewal = true, &events.Renewal{Why: "it goes back to what it ran before"}
			add(events.VerbDied, why)
			cause = append(cause, s.event(now, events.EntityTable, events.VerbHalted, db.Table.Name, map[string]any{"reason": db.Stuck, "server": srv.Name}))
		}
		delete(t.restarted, srv.Name)
		changed = true
	}
	return cause, changed
}

// startNextRestart begins with the next server: first one that serves nobody, for that
// costs nothing, and then by id.
func (s *state) startNextRestart(db *events.Database, now time.Time) (cause []events.Event, changed bool) {
	if db.Stuck != "" || slices.ContainsFunc(db.Servers, func(srv events.ShardServer) bool { return srv.Renewal != nil }) {
		return nil, false
	}
	next := -1
	for i, srv := range db.Servers {
		if !srv.Behind || s.restartBlockedBy(*db, srv, now) != "" {
			continue
		}
		if next < 0 || s.restartsBefore(*db, srv, db.Servers[next]) {
			next = i
		}
	}
	if next < 0 {
		return nil, false
	}
	srv := &db.Servers[next]
	about := map[string]any{"table": db.Table.Name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume}
	why := orElse(changedSpec(db.Runs(*srv), db.ServerSpec), "it runs what is configured no more")
	srv.Renewal = &events.Renewal{Why: why}
	if alone := s.soleCopies(*db, *srv); len(alone) > 0 {
		about["pauses"] = alone
		why += "; reads of these shards pause, for nobody else keeps them"
	}
	about["reason"] = why
	return []events.Event{s.event(now, events.EntityInstance, events.VerbRenewing, srv.Name, about)}, true
}

func (s *state) restartsBefore(db events.Database, a, b events.ShardServer) bool {
	if x, y := s.servesNobody(db, a), s.servesNobody(db, b); x != y {
		return x
	}
	return a.ID < b.ID
}

// restartBlockedBy says why it is not a server's turn to be renewed, if it is not.
func (s *state) restartBlockedBy(db events.Database, srv events.ShardServer, now time.Time) string {
	switch {
	case !s.assignedHome(srv) || !s.hostAlive(srv.Host):
		return "host " + orElse(srv.Host, "of "+srv.Name) + " is away"
	case srv.Was != nil || s.catchingUp(db, srv):
		return srv.Name + " is being filled"
	case s.servesNobody(db, srv):
		return ""
	}
	if missing := s.unreadyPeer(db, srv, true); missing != "" {
		return missing
	}
	if route, ok := s.tableRoutes[db.Table.Name]; !ok || !s.tableServed(db.Table.Name, route.version, now) {
		return "a router serves an older route"
	}
	return ""
}

// unreadyPeer names a replica that is not ready of a shard that a server
// keeps, beside its own; surely: or that has not been heard.
func (s *state) unreadyPeer(db events.Database, srv events.ShardServer, surely bool) string {
	for _, shard := range srv.Shards {
		log, _ := db.Log(shard)
		if !log.Made {
			return "the log of shard " + shard + " is not made"
		}
		for _, other := range serversOf(db, shard) {
			if other.ID == srv.ID {
				continue
			}
			st, why := s.currentHealth(other, db.Table.Name, log)
			if st != ready || surely && !s.confirmedReady(other, db.Table.Name, log) {
				return fmt.Sprintf("shard %s on %s is not ready: %s", shard, other.Name, orElse(why, "it has not been heard"))
			}
		}
	}
	return ""
}

// servesNobody reports whether a server serves nobody.
func (s *state) servesNobody(db events.Database, srv events.ShardServer) bool {
	for _, shard := range srv.Shards {
		log, _ := db.Log(shard)
		if st, _ := s.currentHealth(srv, db.Table.Name, log); st != notReady {
			return false
		}
	}
	return true
}

// catchingUp reports whether a replica on a server is on its way to be ready.
func (s *state) catchingUp(db events.Database, srv events.ShardServer) bool {
	return slices.ContainsFunc(srv.Shards, func(shard string) bool {
		reported, fresh := s.reported(srv.Name, db.Table.Name, shard)
		return fresh && (reported.State == events.ReplicaCopying || reported.State == events.ReplicaCatchingUp)
	})
}

// soleCopies lists the shards that a server serves and nobody else keeps.
func (s *state) soleCopies(db events.Database, srv events.ShardServer) (shards []string) {
	for _, shard := range srv.Shards {
		log, _ := db.Log(shard)
		if st, _ := s.currentHealth(srv, db.Table.Name, log); st != notReady && len(serversOf(db, shard)) == 1 {
			shards = append(shards, shard)
		}
	}
	return shards
}

// restarting finds the server that an instance is, if it is to be started anew.
func (s *state) restarting(i events.InstanceSpec, at string) (events.Database, events.ShardServer, bool) {
	db, ok := s.tables[i.Service]
	if !ok || i.Kind != events.KindShard {
		return events.Database{}, events.ShardServer{}, false
	}
	srv, ok := serverOf(db.value, i.Name)
	return db.value, srv, ok && srv.Host == at && srv.Stopping()
}

// mayStop reports whether a server that is to be started anew may end: the
// others serve its shards, and every router knows it.
func (s *state) mayStop(db events.Database, srv events.ShardServer, now time.Time) (string, bool) {
	if s.isolated(now) || !s.servesNobody(db, srv) && s.unreadyPeer(db, srv, true) != "" {
		return "", false
	}
	route, ok := s.tableRoutes[db.Table.Name]
	if !ok || !s.tableServed(db.Table.Name, route.version, now) {
		return "", false
	}
	for _, sh := range route.value.Shards {
		if isReady(sh, srv.Name) && len(sh.Replicas) > 1 {
			return "", false
		}
	}
	return "it is started anew: " + srv.Renewal.Why, true
}

// hasStopped reports whether nothing of a server is left on its host, and nothing
// will be: its agent obeys an assignment without it.
func (s *state) hasStopped(srv events.ShardServer) bool {
	a, ok := s.assigned[srv.Host]
	if !ok || s.assignedHome(srv) || !s.hostAlive(srv.Host) {
		return false
	}
	heartbeat := s.hosts[srv.Host].heartbeat
	_, there := s.hosts[srv.Host].status(srv.Name)
	return !there && (heartbeat.Assigned == a.version || heartbeat.Assigned.After(a.version))
}

// forgetHeartbeats forgets what a server said in its life before, also what is still on
// its way here.
func (s *state) forgetHeartbeats(name string, now time.Time) {
	next := &shardServer{seen: now}
	if old := s.servers[name]; old != nil && old.heartbeat != nil {
		next.former = old.heartbeat.Incarnation
	}
	s.servers[name] = next
}

// isRunning reports whether the agent says that a server runs.
func (s *state) isRunning(srv events.ShardServer) bool {
	st, ok := s.hosts[srv.Host].status(srv.Name)
	return ok && st.State == events.Ready && s.assignedHome(srv)
}

// noteRestarted notes since when a server that was restarted could get ready:
// not while its host is away.
func (t *rollout) noteRestarted(srv events.ShardServer, now time.Time) {
	if !t.s.assignedHome(srv) || !t.s.hostAlive(srv.Host) {
		delete(t.restarted, srv.Name)
	} else if _, ok := t.restarted[srv.Name]; !ok {
		t.restarted[srv.Name] = now
	}
}

// restartFailed says why a server that was restarted will not get ready. A host
// that is away is another matter.
func (t *rollout) restartFailed(db events.Database, srv events.ShardServer, now time.Time) string {
	s := t.s
	since, ok := t.restarted[srv.Name]
	if !ok {
		return ""
	}
	if why := s.serverFailed(srv, now); why != "" {
		return why
	}
	if now.Sub(since) < s.cfg.RestartTimeout || s.catchingUp(db, srv) {
		return ""
	}
	why := "it says nothing"
	if observed := s.servers[srv.Name]; observed != nil && observed.heartbeat != nil && observed.heartbeat.Detail != "" {
		why = observed.heartbeat.Detail
	} else {
		for _, shard := range srv.Shards {
			log, _ := db.Log(shard)
			if st, detail := s.currentHealth(srv, db.Table.Name, log); st != ready {
				why = "shard " + shard + ": " + detail
			}
		}
	}
	return fmt.Sprintf("not ready for %s: %s", s.cfg.RestartTimeout, why)
}

// rolloutDetail says for people how far a change of a table's servers is.
func (s *state) rolloutDetail(db events.Database, now time.Time) string {
	behind, waits := 0, ""
	for _, srv := range db.Servers {
		if srv.Renewal != nil && db.Stuck == "" {
			line := srv.Name + " is started anew: " + srv.Renewal.Why
			if st, ok := s.hosts[srv.Host].status(srv.Name); ok && st.Detail != "" {
				line += "; host " + srv.Host + " says: " + st.Detail
			}
			return line
		}
		if srv.Behind {
			behind++
			waits = orElse(waits, s.restartBlockedBy(db, srv, now))
		}
	}
	if db.Stuck != "" || behind == 0 {
		return db.Stuck
	}
	return fmt.Sprintf("%d servers are to be started anew; %s", behind, orElse(waits, "one is about to"))
}

// changedSpec says what is new.
func changedSpec(was, is events.ServerSpec) string {
	switch {
	case cmp.Or(was.Engine, "auto") != cmp.Or(is.Engine, "auto"):
		return "another engine is configured"
	case !maps.Equal(was.Env, is.Env):
		return "another environment is configured"
	case was.Image != is.Image:
		return "another image is configured"
	case was.Limits != is.Limits:
		return "other limits are configured"
	}
	return ""
}
