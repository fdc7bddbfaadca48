// Package rollout restarts shard servers, one at a time, when what they are
// configured to run has changed.
package rollout

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/tables/placement"
	"ringway/events"
)

// Rollout is of what shard servers run.
type Rollout struct {
	s         *cluster.State
	restarted map[string]time.Time // servers that were restarted and are not ready: since when
}

func New(s *cluster.State) *Rollout { return &Rollout{s: s, restarted: map[string]time.Time{}} }

// RestartServers restarts the shard servers of a table when what they are
// configured to run has changed: each under its name, on its host and its volume,
// and the next one only when all replicas of the one before are ready again.
// One that serves is stopped only while all other replicas of its shards are
// ready. If it does not get ready, it goes back to what it ran before, and the
// change is rolled out no further. How far this is, is stored: the next leader
// goes on with it.
func (t *Rollout) RestartServers(now time.Time) (effects []cluster.Effect) {
	s := t.s
	if s.Isolated(now) || !s.ReadyToPlace(now) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := cluster.CloneTable(s.Tables[name].Value)
		cause, changed := t.advanceRestarts(&db, now)
		if !changed {
			cause, changed = startNextRestart(s, &db, now)
		}
		if changed {
			db.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutTable{Value: db})
		}
	}
	return effects
}

// advanceRestarts takes what is under way a step further.
func (t *Rollout) advanceRestarts(db *events.Database, now time.Time) (cause []events.Event, changed bool) {
	s := t.s
	for i := range db.Servers {
		srv := &db.Servers[i]
		if srv.Renewal == nil {
			continue
		}
		add := func(verb, why string) {
			cause = append(cause, s.Event(now, events.EntityInstance, verb, srv.Name, map[string]any{
				"table": db.Table.Name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume, "reason": why}))
		}
		if srv.Stopping() {
			switch missing := unreadyPeer(s, *db, *srv, false); {
			case hasStopped(s, *srv):
				srv.Renewal = &events.Renewal{Why: srv.Renewal.Why, Stopped: true}
				srv.Behind = db.Stuck != ""
				s.ForgetHeartbeats(srv.Name, now)
				changed = true
			case missing != "" && db.Stuck == "" && s.AssignedHome(*srv) && !servesNobody(s, *db, *srv):
				srv.Renewal, changed = nil, true
				add(events.VerbPostponed, missing)
			}
			continue
		}
		t.noteRestarted(*srv, now)
		why := t.restartFailed(*db, *srv, now)
		switch {
		case isRunning(s, *srv) && cluster.AllReady(s, *db, *srv):
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
			cause = append(cause, s.Event(now, events.EntityTable, events.VerbHalted, db.Table.Name, map[string]any{"reason": db.Stuck, "server": srv.Name}))
		}
		delete(t.restarted, srv.Name)
		changed = true
	}
	return cause, changed
}

// startNextRestart begins with the next server: first one that serves nobody, for that
// costs nothing, and then by id.
func startNextRestart(s *cluster.State, db *events.Database, now time.Time) (cause []events.Event, changed bool) {
	if db.Stuck != "" || slices.ContainsFunc(db.Servers, func(srv events.ShardServer) bool { return srv.Renewal != nil }) {
		return nil, false
	}
	next := -1
	for i, srv := range db.Servers {
		if !srv.Behind || restartBlockedBy(s, *db, srv, now) != "" {
			continue
		}
		if next < 0 || restartsBefore(s, *db, srv, db.Servers[next]) {
			next = i
		}
	}
	if next < 0 {
		return nil, false
	}
	srv := &db.Servers[next]
	about := map[string]any{"table": db.Table.Name, "id": srv.ID, "host": srv.Host, "volume": srv.Volume}
	why := cmp.Or(changedSpec(db.Runs(*srv), db.ServerSpec), "it runs what is configured no more")
	srv.Renewal = &events.Renewal{Why: why}
	if alone := soleCopies(s, *db, *srv); len(alone) > 0 {
		about["pauses"] = alone
		why += "; reads of these shards pause, for nobody else keeps them"
	}
	about["reason"] = why
	return []events.Event{s.Event(now, events.EntityInstance, events.VerbRenewing, srv.Name, about)}, true
}

func restartsBefore(s *cluster.State, db events.Database, a, b events.ShardServer) bool {
	if x, y := servesNobody(s, db, a), servesNobody(s, db, b); x != y {
		return x
	}
	return a.ID < b.ID
}

// noteRestarted notes since when a server that was restarted could get ready:
// not while its host is away.
func (t *Rollout) noteRestarted(srv events.ShardServer, now time.Time) {
	if !t.s.AssignedHome(srv) || !t.s.HostAlive(srv.Host) {
		delete(t.restarted, srv.Name)
	} else if _, ok := t.restarted[srv.Name]; !ok {
		t.restarted[srv.Name] = now
	}
}

// restartFailed is why a server that was restarted will not get ready. A host
// that is away is another matter.
func (t *Rollout) restartFailed(db events.Database, srv events.ShardServer, now time.Time) string {
	s := t.s
	since, ok := t.restarted[srv.Name]
	if !ok {
		return ""
	}
	if why := placement.ServerFailed(s, srv, now); why != "" {
		return why
	}
	if now.Sub(since) < s.Cfg.RestartTimeout || catchingUp(s, db, srv) {
		return ""
	}
	why := "it says nothing"
	if observed := s.Servers[srv.Name]; observed != nil && observed.Heartbeat != nil && observed.Heartbeat.Detail != "" {
		why = observed.Heartbeat.Detail
	} else {
		for _, shard := range srv.Shards {
			if st, detail := cluster.CurrentHealth(s, db, srv, shard); st != cluster.Ready {
				why = "shard " + shard + ": " + detail
			}
		}
	}
	return fmt.Sprintf("not ready for %s: %s", s.Cfg.RestartTimeout, why)
}
