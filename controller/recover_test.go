package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ringway/controller/cluster"
	"ringway/controller/tables"
	"ringway/events"
)

func (w *sim) recoverShard(shard string, force bool) *tableAnswer {
	w.t.Helper()
	return w.requestTable(events.APIRecover, events.RecoverRequest{ID: "rec" + w.now.String(), Shard: shard, Force: force})
}

// at sets what a server's volume has of a shard.
func (w *sim) at(server, shard string) *events.ReplicaStatus {
	return w.volumes[w.server(server).Volume]["StudT."+shard]
}

// lost is a world whose log of sh1 is gone, with replicas at 7, 9 and 8.
func lost(t *testing.T) *sim {
	t.Helper()
	w := withTable(t, 3, "h1", "h2", "h3")
	old := w.logs["StudT.sh1"]
	w.write("sh1", 10)
	w.run(time.Second)
	delete(w.logs, "StudT.sh1")
	for i, seq := range []uint64{7, 9, 8} {
		w.at(w.db().Servers[i].Name, "sh1").Applied = w.position(old, seq)
	}
	w.run(time.Second)
	if n, of := w.replicasReady(); n != of-3 {
		t.Fatalf("%d of %d ready with a log lost", n, of)
	}
	w.wantEvent("shard.halted", "StudT.sh1")
	return w
}

func TestTable_MissingLogIsNeverMadeByItself(t *testing.T) {
	w := lost(t)
	made := w.made
	w.run(time.Minute)
	if w.made != made {
		t.Fatal("somebody made a log that was made before")
	}
}

func TestTable_RecoverContinuesTheMostAdvancedReplica(t *testing.T) {
	w := lost(t)
	ahead := w.db().Servers[1].Name
	before, _ := w.log("sh1")
	got := w.recoverShard("sh1", false)
	if sh := w.table().Shards[0]; len(w.table().Shards) != 4 || sh.Log.Incarnation != before.Incarnation {
		t.Fatalf("while the new log is not made the route says %+v", sh)
	}
	w.run(5 * time.Second)
	if !got.answered || got.err != nil {
		t.Fatalf("answered %v: %v", got.answered, got.err)
	}
	reply := got.value.(events.RecoverReply)
	if reply.Server != ahead || reply.Log.Origin == nil || reply.Log.Origin.Seq != 9 || reply.Log.Origin.Incarnation != before.Incarnation || !reply.Log.Made || reply.Log.Incarnation == before.Incarnation {
		t.Fatalf("reply is %+v", reply)
	}
	if l := w.logs["StudT.sh1"]; l.first != 10 || l.id.Incarnation != reply.Log.Incarnation {
		t.Fatalf("the new log is %+v, want it to begin at 10", l)
	}
	w.run(5 * time.Second)
	w.wantAllReady()
	w.wantEvent("shard.recovered", "StudT.sh1")
	w.wantEvent("shard.quarantined", "StudT.sh1")
}

func TestTable_RecoverRefusals(t *testing.T) {
	f := func(name, message string, code int, shard string, prepare func(w *sim)) {
		t.Run(name, func(t *testing.T) {
			w := lost(t)
			prepare(w)
			w.run(3 * time.Second)
			before, _ := w.log("sh1")
			if got := w.recoverShard(shard, false).refused(t, code); !strings.Contains(got, message) {
				t.Errorf("refused with %q, want %q", got, message)
			}
			if after, _ := w.log("sh1"); after != before {
				t.Error("refused, and changed")
			}
		})
	}
	f("unknown", "'sh9' is not defined", 400, "sh9", func(*sim) {})
	f("served", "is served by", 409, "sh2", func(*sim) {})
	f("silent", "cannot be heard", 409, "sh1", func(w *sim) { w.muted[w.db().Servers[1].Name] = true })
	f("nobody has anything", "no replica that could be continued", 409, "sh1", func(w *sim) {
		for _, srv := range w.db().Servers {
			w.at(srv.Name, "sh1").Applied = events.Position{}
		}
	})
	f("copying", "copying", 409, "sh1", func(w *sim) {
		w.slow = true
		w.at(w.db().Servers[0].Name, "sh1").State = events.ReplicaCopying
	})
}

func TestTable_RecoverByForceDoesWithoutTheSilent(t *testing.T) {
	w := lost(t)
	w.muted[w.db().Servers[1].Name] = true
	w.run(3 * time.Second)
	got := w.recoverShard("sh1", true)
	w.run(5 * time.Second)
	if got.err != nil || !got.answered || got.value.(events.RecoverReply).Log.Origin.Seq != 8 {
		t.Fatalf("answered %v: %+v %v", got.answered, got.value, got.err)
	}
}

// Replicas of a log that lives read on until it is deleted.
func TestTable_RecoverByForceTakesWhatWasReadMeanwhile(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	w.write("sh1", 10)
	w.run(time.Second)
	old := w.logs["StudT.sh1"]
	got := w.recoverShard("sh1", true)
	w.at(w.db().Servers[2].Name, "sh1").Applied = w.position(old, 12)
	w.run(6 * time.Second)
	if got.err != nil || !got.answered {
		t.Fatalf("answered %v: %v", got.answered, got.err)
	}
	reply := got.value.(events.RecoverReply)
	if reply.Log.Origin.Seq != 12 || reply.Server != w.db().Servers[2].Name || w.logs["StudT.sh1"].first != 13 {
		t.Fatalf("continued %+v of %s in a log from %d", reply.Log, reply.Server, w.logs["StudT.sh1"].first)
	}
	w.run(5 * time.Second)
	w.wantAllReady()
}

func TestTable_RecoverGoesOnUnderTheNextLeader(t *testing.T) {
	for _, made := range []bool{false, true} {
		w := lost(t)
		if !made {
			w.noLogs = events.ErrConflict
		}
		w.recoverShard("sh1", false)
		if made { // but nobody stored that it is
			w.run(tables.OriginSettles)
			log, _ := w.log("sh1")
			w.logs["StudT.sh1"] = &simLog{id: events.LogID{Table: "StudT", Shard: "sh1", Incarnation: log.Incarnation}, first: log.First(), last: log.First() - 1}
			db := cluster.CloneTable(w.db())
			db.Logs[0].Made = false
			w.s.Tables["StudT"].Value = db
		}
		want, _ := w.log("sh1")
		w.elect()
		w.noLogs = nil
		w.decide()
		if got, _ := w.log("sh1"); got.Made != made { // it is there with its origin: nobody is asked for a better one
			t.Fatalf("made=%v: the next leader left %+v at first", made, got)
		}
		w.run(15 * time.Second)
		if got, _ := w.log("sh1"); !got.Made || got.Incarnation != want.Incarnation {
			t.Fatalf("made=%v: log %+v became %+v", made, want, got)
		}
		w.wantAllReady()
	}
}

func TestTable_PurgeKeepsWhatAnybodyNeeds(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	w.write("sh1", 1500)
	w.run(11 * time.Second)
	if len(w.purges) != 0 {
		t.Fatalf("purged %+v, which frees too little", w.purges)
	}
	w.write("sh1", 2500)
	w.run(21 * time.Second)
	if len(w.purges) != 1 || w.purges[0].Below != 4001-1000 {
		t.Fatalf("purged %+v, want once below 3001", w.purges)
	}
	w.wantEvent("shard.purged", "StudT.sh1")
	w.write("sh1", 5000)
	w.muted[w.db().Servers[0].Name] = true
	w.run(30 * time.Second)
	if len(w.purges) != 1 {
		t.Fatalf("purged %+v while one replica is not heard", w.purges)
	}
	delete(w.muted, w.db().Servers[0].Name)
	w.run(time.Second) // it has had the time to send one
	for range 3 {
		w.write("sh1", 5000)
		w.run(2 * time.Second)
	}
	w.run(40 * time.Second)
	if n := len(w.purges); n < 2 || w.purges[n-1].Below != 23001 {
		t.Fatalf("purged %+v, want below 23001 in the end", w.purges)
	}
	// A new leader does not know where the log begins, and asks before it purges.
	w.elect()
	w.emitted = nil
	w.run(30 * time.Second)
	if slices.Contains(w.verbs(), "shard.purged") {
		t.Fatal("told of a purge that dropped nothing")
	}
}

func TestTable_RecoverPrefersTheLogThatTheShardHasNow(t *testing.T) {
	w := lost(t)
	w.at(w.db().Servers[0].Name, "sh1").Applied = events.Position{Incarnation: "OTHER", Seq: 99, Batch: "b99"}
	w.run(time.Second)
	got := w.recoverShard("sh1", false)
	w.run(5 * time.Second)
	if got.err != nil || !got.answered || got.value.(events.RecoverReply).Log.Origin.Seq != 9 {
		t.Fatalf("answered %v: %+v %v, want to go on from 9", got.answered, got.value, got.err)
	}
}

// People are told which replica it will be, by status, where the least id comes
// first.
func TestTable_RecoverTakesTheFirstOfEquals(t *testing.T) {
	w := lost(t)
	log, _ := w.log("sh1")
	for _, srv := range w.db().Servers {
		w.at(srv.Name, "sh1").Applied = events.Position{Incarnation: log.Incarnation, Seq: 9, Batch: "of " + srv.Name}
	}
	w.run(time.Second)
	db := w.db()
	db.Servers = slices.Clone(db.Servers)
	slices.Reverse(db.Servers) // as it is when the first was removed, and another has its id
	if srv, at, ok := tables.MostAdvanced(w.s, db, "sh1", log.Incarnation); !ok || srv.ID != 1 || at.Batch != "of "+srv.Name {
		t.Errorf("it would continue %+v at %s", srv, at)
	}
}

func TestTable_ACopyThatRunsPinsWhatFollowsIt(t *testing.T) {
	w := withTable(t, 3, "h1")
	w.s.Cfg.KeepTail = 0
	log, _ := w.log("sh1")
	at := func(seq uint64) events.Position { return events.Position{Incarnation: log.Incarnation, Seq: seq} }
	for i, srv := range cluster.ServersOf(w.db(), "sh1") {
		r := events.ReplicaStatus{Table: "StudT", Shard: "sh1", State: events.ReplicaReady, Applied: at(120), Durable: at(100)}
		if i == 2 {
			r.State, r.Applied, r.Durable = events.ReplicaCopying, at(50), events.Position{}
		}
		w.s.Servers[srv.Name].Heartbeat = &events.ShardHeartbeat{Server: srv.Name, Replicas: []events.ReplicaStatus{r}}
	}
	if got := tables.Purgeable(w.s, w.db(), log); got != 51 {
		t.Fatalf("purged below %d while a copy of 50 is under way, want 51", got)
	}
}

// A log that lost something is told once, and purged past that as soon as all have
// more, though it is short.
func TestTable_PurgesALogPastWhatItLost(t *testing.T) {
	w := withTable(t, 3, "h1")
	log, _ := w.log("sh1")
	at := func(seq uint64) events.Position { return events.Position{Incarnation: log.Incarnation, Seq: seq} }
	f := func(behind, want uint64) {
		t.Helper()
		for i, srv := range cluster.ServersOf(w.db(), "sh1") {
			r := events.ReplicaStatus{Table: "StudT", Shard: "sh1", State: events.ReplicaReady, Applied: at(120), Durable: at(100)}
			if i == 2 {
				r.Durable, r.Hole = at(behind), &events.LogHole{From: 30, To: 39}
			}
			w.s.Servers[srv.Name].Heartbeat = &events.ShardHeartbeat{Server: srv.Name, Replicas: []events.ReplicaStatus{r}}
		}
		if got := tables.Purgeable(w.s, w.db(), log); got != want {
			t.Errorf("the last has %d: purged below %d, want %d", behind, got, want)
		}
	}
	f(29, 0)
	f(38, 0)
	f(39, 40)
	f(100, 40)
	told, below := 0, uint64(0)
	w.p, w.s.Cfg.PurgeEvery = newPlan(w.s), 0
	for range 3 {
		for _, e := range w.p.tables.PurgeLogs(w.now) {
			switch e := e.(type) {
			case cluster.Emit:
				told++
			case cluster.PurgeLog:
				below = e.Below
				e.Done(1, true, nil, w.now)
			}
		}
	}
	if told != 1 || below != 40 {
		t.Errorf("%d events, purged below %d", told, below)
	}
}

// A replica that tries the same again and again makes one event, until it comes further.
func TestTable_AReplicaThatGoesInACircleIsToldOnce(t *testing.T) {
	w := withTable(t, 3, "h1")
	log, _ := w.log("sh1")
	srv := cluster.ServersOf(w.db(), "sh1")[0]
	heartbeat := *w.s.Servers[srv.Name].Heartbeat
	f := func(want int, seq uint64, states ...string) {
		t.Helper()
		told := 0
		for _, state := range states {
			r := events.ReplicaStatus{Table: "StudT", Shard: "sh1", State: state, Applied: events.Position{Incarnation: log.Incarnation, Seq: seq}}
			heartbeat.Replicas = []events.ReplicaStatus{r}
			b := heartbeat
			told += len(w.s.ObserveServer(b, w.now))
		}
		if told != want {
			t.Errorf("%v at %d: %d events, want %d", states, seq, told, want)
		}
	}
	copying, behind, halted := events.ReplicaCopying, events.ReplicaCatchingUp, events.ReplicaHalted
	f(1, 5, copying, behind, copying, behind, copying)
	f(1, 5, halted, behind, halted, copying, halted)
	f(2, 6, halted, copying, halted, copying)
	f(3, 6, behind, events.ReplicaReady, halted, copying, halted)
}

func TestTable_PurgesTheLogOfOneCopy(t *testing.T) {
	w := withTable(t, 1, "h1")
	w.s.Cfg.KeepTail = 10
	log, _ := w.log("sh1")
	f := func(state string, want uint64) {
		t.Helper()
		at := events.Position{Incarnation: log.Incarnation, Seq: 100}
		srv := cluster.ServersOf(w.db(), "sh1")[0]
		w.s.Servers[srv.Name].Heartbeat = &events.ShardHeartbeat{Server: srv.Name, Replicas: []events.ReplicaStatus{
			{Table: "StudT", Shard: "sh1", State: state, Applied: at, Durable: at},
		}}
		if got := tables.Purgeable(w.s, w.db(), log); got != want {
			t.Errorf("%s: purged below %d, want %d", state, got, want)
		}
	}
	f(events.ReplicaReady, 91)
	f(events.ReplicaCatchingUp, 0)
	f(events.ReplicaHalted, 0)
}

func TestTable_PurgeNeverDropsWhatAReplicaHasNotOnItsDisk(t *testing.T) {
	states := []string{events.ReplicaReady, events.ReplicaReady, events.ReplicaReady, events.ReplicaReady, events.ReplicaCopying, events.ReplicaCatchingUp, events.ReplicaOpening, events.ReplicaWaiting, events.ReplicaQuarantined, events.ReplicaHalted}
	w := withTable(t, 4, "h1", "h2", "h3")
	log, _ := w.log("sh1")
	rapid.Check(t, func(t *rapid.T) {
		w.s.Cfg.KeepTail = rapid.Uint64Range(0, 50).Draw(t, "tail")
		least, known, ready := ^uint64(0), true, 0
		for _, srv := range cluster.ServersOf(w.db(), "sh1") {
			r := events.ReplicaStatus{Table: "StudT", Shard: "sh1", State: rapid.SampledFrom(states).Draw(t, "state")}
			incarnation := rapid.SampledFrom([]string{log.Incarnation, log.Incarnation, log.Incarnation, log.Incarnation, log.Incarnation, "other"}).Draw(t, "log")
			r.Durable = events.Position{Incarnation: incarnation, Seq: rapid.Uint64Range(0, 200).Draw(t, "durable")}
			r.Applied = events.Position{Incarnation: incarnation, Seq: r.Durable.Seq + rapid.Uint64Range(0, 50).Draw(t, "more")}
			observed := w.s.Servers[srv.Name]
			observed.Heartbeat, observed.Silent = &events.ShardHeartbeat{Server: srv.Name, Replicas: []events.ReplicaStatus{r}}, rapid.IntRange(0, 9).Draw(t, "silent") == 9
			needs := r.Durable.Seq
			if r.State == events.ReplicaCopying {
				needs = r.Applied.Seq
			}
			least = min(least, needs)
			switch r.State {
			case events.ReplicaReady:
				ready++
			case events.ReplicaCopying, events.ReplicaCatchingUp:
			default:
				known = false
			}
			known = known && !observed.Silent && incarnation == log.Incarnation
		}
		below := tables.Purgeable(w.s, w.db(), log)
		switch {
		case below == 0:
			if known && ready > 1 && least+1 > w.s.Cfg.KeepTail {
				t.Fatalf("nothing is purged, though all have %d", least)
			}
		case !known || ready < 2:
			t.Fatalf("purged below %d: all known %v, %d ready", below, known, ready)
		case below+w.s.Cfg.KeepTail != least+1:
			t.Fatalf("purged below %d, want %d without the newest %d", below, least+1, w.s.Cfg.KeepTail)
		}
	})
}
