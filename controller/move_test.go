package controller

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/tables/route"
	"ringway/events"
)

// onHost lists the servers whose data lies on a host.
func (w *sim) onHost(host string) (found []events.ShardServer) {
	for _, srv := range w.db().Servers {
		if srv.Host == host {
			found = append(found, srv)
		}
	}
	return found
}

func TestTable_LostHostIsFilledElsewhereAfterAMinuteOneCopyAtATime(t *testing.T) {
	w := withTable(t, 4, "h1", "h2", "h3", "h4")
	old := w.onHost("h1")
	if len(old) != 1 {
		t.Fatalf("%d servers lie on h1, want them spread over four hosts", len(old))
	}
	w.write("sh1", 9)
	w.silent["h1"] = true
	w.run(50 * time.Second)
	if got := w.onHost("h1"); len(got) != 1 || got[0].Name != old[0].Name {
		t.Fatalf("moved before a minute was over: %+v", w.db().Servers)
	}
	if n, of := w.replicasReady(); n != of-len(old[0].Shards) {
		t.Fatalf("%d of %d ready while a host is lost", n, of)
	}
	w.run(20 * time.Second)
	next := w.db().Servers[slices.IndexFunc(w.db().Servers, func(s events.ShardServer) bool { return s.ID == old[0].ID })]
	if next.Host == "h1" || next.Volume == old[0].Volume || next.Name == old[0].Name || !slices.Equal(next.Shards, old[0].Shards) {
		t.Fatalf("%+v became %+v", old[0], next)
	}
	if next.Was != nil {
		t.Fatalf("all is ready, and the old data is still remembered: %+v", next)
	}
	w.wantAllReady()
	w.wantEvent("shard.filled", "")
	if e := w.wantEvent("instance.replaced", old[0].Name); !strings.Contains(string(e.Data), "lost") {
		t.Errorf("the event does not say why: %s", e.Data)
	}
	// The old host comes back: what it runs is not wanted any more.
	w.silent["h1"] = false
	w.run(3 * time.Second)
	if len(w.agents["h1"]) != 0 {
		t.Errorf("the host that came back runs %v", slices.Sorted(maps.Keys(w.agents["h1"])))
	}
	w.wantAllReady()
}

func TestTable_LostHostThatReturnsGoesOnWithItsData(t *testing.T) {
	w := withTable(t, 4, "h1", "h2", "h3", "h4")
	old := w.onHost("h1")[0]
	w.silent["h1"], w.slow = true, true
	w.run(70 * time.Second)
	i := slices.IndexFunc(w.db().Servers, func(s events.ShardServer) bool { return s.ID == old.ID })
	if moving := w.db().Servers[i]; moving.Was == nil || *moving.Was != (events.Volume{ID: old.Volume, Host: "h1"}) {
		t.Fatalf("a server that is being filled is %+v", moving)
	}
	w.silent["h1"] = false
	w.run(3 * time.Second)
	back := w.db().Servers[i]
	if back.Host != "h1" || back.Volume != old.Volume || back.Name == old.Name || back.Was != nil {
		t.Fatalf("%+v came back as %+v", old, back)
	}
	w.wantAllReady()
	for _, host := range []string{"h2", "h3", "h4"} {
		if len(w.agents[host]) != 1 {
			t.Errorf("%s runs %v, want its own server only", host, slices.Sorted(maps.Keys(w.agents[host])))
		}
	}
}

func TestTable_OneCopyOfAShardIsFilledAtATime(t *testing.T) {
	w := withTable(t, 4, "h1", "h2", "h3", "h4", "h5", "h6")
	lost := []string{w.db().Servers[0].Host, w.db().Servers[1].Host}
	w.silent[lost[0]], w.silent[lost[1]], w.slow = true, true, true
	w.run(90 * time.Second)
	moving := 0
	for _, srv := range w.db().Servers {
		if srv.Was != nil {
			moving++
		}
	}
	if moving != 1 {
		t.Fatalf("%d servers with the same shards are filled at the same time, want 1", moving)
	}
	w.slow = false
	w.run(10 * time.Second)
	w.wantAllReady()
	for _, host := range lost {
		if len(w.onHost(host)) != 0 {
			t.Errorf("%s is lost and still keeps %v", host, w.onHost(host))
		}
	}
}

func TestTable_DataIsNotLeftWhileNobodyElseHasIt(t *testing.T) {
	f := func(name string, prepare func(w *sim)) {
		t.Run(name, func(t *testing.T) {
			w := withTable(t, 3, "h1", "h2", "h3")
			prepare(w)
			before := w.db().Servers
			w.run(3 * time.Minute)
			for i, srv := range w.db().Servers {
				if srv.Volume != before[i].Volume || srv.Was != nil {
					t.Errorf("%+v became %+v", before[i], srv)
				}
			}
		})
	}
	f("no other host lives", func(w *sim) { w.silent["h1"], w.silent["h2"], w.silent["h3"] = true, true, true })
	f("no other copy is ready", func(w *sim) {
		w.silent["h1"] = true
		for _, srv := range w.db().Servers {
			w.muted[srv.Name] = srv.Host != "h1"
		}
	})
	f("the agent alone is away", func(w *sim) {
		w.silent["h1"], w.agentless = true, true
	})
}

// An agent that is away for a moment says nothing of its shard servers, which
// send heartbeats; on a host that is lost nobody could replace them.
func TestTable_ServerWhoseAgentIsAwayServesUntilItsHostIsLost(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	w.silent["h1"], w.agentless = true, true
	w.run(6 * time.Second)
	if w.s.Hosts["h1"].State != events.Suspect {
		t.Fatalf("h1 is %s", w.s.Hosts["h1"].State)
	}
	w.wantAllReady()
	w.run(5 * time.Second)
	if n, of := w.replicasReady(); n != of-4 {
		t.Fatalf("%d of %d ready with a host lost", n, of)
	}
	w.silent["h1"] = false
	w.run(time.Second)
	w.wantAllReady()
}

func TestTable_SuspicionNeverTakesOutTheLastReplicaButDeathDoes(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	for _, srv := range w.db().Servers {
		w.muted[srv.Name] = true
	}
	w.run(5 * time.Second)
	for _, sh := range w.table().Shards {
		if !slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Ready }) || sh.Responder == "" {
			t.Fatalf("suspicion alone took out all of %s: %+v", sh.Shard, sh)
		}
	}
	for _, srv := range w.db().Servers {
		_, st := w.find(srv.Name)
		st.State = events.Dead
	}
	w.now = w.now.Add(10 * time.Millisecond)
	for host := range w.agents {
		w.apply(w.s.ObserveHost(w.hostHeartbeat(host), w.now))
	}
	w.apply(route.Update(w.s, w.now))
	if n, _ := w.replicasReady(); n != 0 {
		t.Fatalf("%d dead replicas are ready", n)
	}
	w.muted = map[string]bool{}
	w.run(5 * time.Second)
	w.wantAllReady()
}

func TestTable_SilentServerLeavesTheRouteAndComesBack(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	victim := w.db().Servers[1].Name
	responder := w.table().Shards[0].Responder
	w.muted[victim] = true
	w.run(time.Second)
	w.wantAllReady()
	w.run(2 * time.Second)
	if n, of := w.replicasReady(); n != of-4 {
		t.Fatalf("%d of %d ready with one of three servers silent", n, of)
	}
	w.wantEvent("shard.unready", "StudT.sh1")
	if victim != responder && w.table().Shards[0].Responder != responder {
		t.Errorf("the responder changed from %s to %s without need", responder, w.table().Shards[0].Responder)
	}
	delete(w.muted, victim)
	w.run(time.Second)
	w.wantAllReady()
	if w.db().Servers[1].Name != victim {
		t.Error("a silent server was replaced")
	}
}

func TestTable_EagerIsTheOneThatIsAhead(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	sh := w.table().Shards[0]
	var other []string
	for _, r := range sh.Replicas {
		if r.Server != sh.Responder {
			other = append(other, r.Server)
		}
	}
	w.write("sh1", 5)
	w.step(events.HeartbeatInterval)
	outdatedServers, _ := w.s.Servers[other[0]].Heartbeat.Replica("StudT", "sh1")
	for i, r := range w.s.Servers[other[0]].Heartbeat.Replicas {
		if r.Shard == "sh1" {
			outdatedServers.Applied.Seq--
			w.s.Servers[other[0]].Heartbeat.Replicas[i] = outdatedServers
		}
	}
	w.muted[other[0]] = true
	_, st := w.find(sh.Responder)
	st.State = events.Dead
	host, _ := w.find(sh.Responder)
	w.now = w.now.Add(10 * time.Millisecond)
	w.apply(w.s.ObserveHost(w.hostHeartbeat(host), w.now))
	w.decide()
	if got := w.table().Shards[0].Responder; got != other[1] {
		t.Fatalf("the responder is %s, want %s, which is ahead of %s", got, other[1], other[0])
	}
}

// A shard server whose database hangs still sends heartbeats.
func TestTable_EagerIsNobodyWhoseDatabaseHangs(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	w.run(5 * time.Second)
	hung := w.table().Shards[0].Responder
	w.hung = map[string]bool{hung: true}
	w.run(5 * time.Second)
	if got := w.table().Shards[0].Responder; got != hung {
		t.Fatalf("the responder went from %s to %s while nothing was written", hung, got)
	}
	w.write("sh1", 1)
	w.run(1500 * time.Millisecond)
	if got := w.table().Shards[0].Responder; got != hung {
		t.Fatalf("the responder went from %s to %s, which was ahead for a moment", hung, got)
	}
	w.run(time.Second)
	if got := w.table().Shards[0].Responder; got == hung {
		t.Fatalf("the responder is %s still, whose database hangs", hung)
	}
	if emitted := w.emitted[len(w.emitted)-1]; emitted.Verb != events.VerbResponder || !strings.Contains(string(emitted.Data), hung+" stays where it is") {
		t.Errorf("told last: %s %s %s", emitted.Verb, emitted.About, emitted.Data)
	}
	w.hung = nil
	w.run(5 * time.Second)
	w.wantAllReady()
}

func TestTable_IsolatedOrNewLeaderTakesNobodyOut(t *testing.T) {
	w := withTable(t, 3, "h1", "h2")
	w.now = w.now.Add(30 * time.Second)
	w.decide()
	w.wantAllReady()

	// Nobody has reported to the next leader yet.
	w.elect()
	w.decide()
	w.wantAllReady()
	w.now = w.now.Add(time.Second)
	w.s.ObserveSelf(events.ControllerHeartbeat{Term: w.s.Term, Sent: w.now}, w.now)
	w.decide()
	w.wantAllReady()
	before := w.table()
	// Shard servers report before their agents, or after them.
	for host := range w.agents {
		w.serverHeartbeats(host)
	}
	w.decide()
	w.wantAllReady()
	for host := range w.agents {
		w.apply(w.s.ObserveHost(w.hostHeartbeat(host), w.now))
	}
	w.decide()
	w.wantAllReady()
	if !route.Same(before, w.table()) {
		t.Fatal("the route changed by an election")
	}
	// One that is really gone is noticed.
	gone := w.db().Servers[0].Name
	w.muted[gone] = true
	w.run(3 * time.Second)
	if n, of := w.replicasReady(); n != of-4 {
		t.Fatalf("%d of %d ready with one server gone", n, of)
	}
}

func TestTable_ServerThatKeepsDyingIsReplacedEverMoreSlowly(t *testing.T) {
	w := withTable(t, 3, "h1")
	replaced, last := 0, w.db().Servers[0].Name
	for range 120 {
		if i := w.agents["h1"][last]; i != nil {
			i.State = events.Dead
		}
		w.step(events.HeartbeatInterval)
		if now := w.db().Servers[0].Name; now != last {
			replaced, last = replaced+1, now
		}
	}
	if replaced < 4 || replaced > 12 {
		t.Fatalf("replaced %d times in a minute; the wait doubles from 0.5 s to 30 s, so expect 4 to 12", replaced)
	}
	if volume := w.db().Servers[0].Volume; w.volumes[volume] == nil {
		t.Error("its data was left behind")
	}
}

func TestTable_HungServerIsReplacedLater(t *testing.T) {
	w := withTable(t, 3, "h1")
	victim := w.db().Servers[0]
	_, st := w.find(victim.Name)
	st.State, st.Detail = events.Unready, "probe: timeout"
	w.step(10 * time.Millisecond)
	if n, of := w.replicasReady(); n != of-4 {
		t.Fatalf("%d of %d ready with a hung server", n, of)
	}
	w.run(10 * time.Second)
	if w.db().Servers[0].Name != victim.Name {
		t.Fatal("replaced too early")
	}
	w.run(25 * time.Second)
	if next := w.db().Servers[0]; next.Name == victim.Name || next.Volume != victim.Volume {
		t.Fatalf("%+v became %+v", victim, next)
	}
	w.wantAllReady()
	if w.agents["h1"][victim.Name] != nil {
		t.Error("the hung server still runs")
	}
}

func TestTable_OrphansAreLeftAloneAndReported(t *testing.T) {
	cfg := webConfig(1)
	cfg.Tables = []cluster.TableConfig{{ConfigHash: "1", Request: events.InitRequest{N: 2, Table: students("sh1")}}}
	w := newSim(t, cfg, "h1")
	w.agents["h1"]["Server7"] = &events.InstanceStatus{Name: "Server7", Service: "StudT", ID: 1, Kind: events.KindShard, Volume: "vol-old", State: events.Ready, Address: "10.0.0.1:1"}
	// An agent stops nothing that an assignment of another bus does not name.
	w.foreign = map[string]bool{"Server7": true}
	w.run(5 * time.Second)
	if len(w.s.Tables) != 0 {
		t.Fatal("a table was made over the servers of a former one")
	}
	w.wantEvent("table.refused", "StudT")
	w.init(events.InitRequest{N: 1, Table: students("sh1")}).refused(t, 409)
	if w.agents["h1"]["Server7"] == nil || len(w.members()) != 1 {
		t.Fatal("the stray server, or the service, does not run")
	}
	emitted := 0
	for _, e := range w.emitted {
		if e.Entity == events.EntityTable {
			emitted++
		}
	}
	if emitted != 1 {
		t.Errorf("told %d times, want once", emitted)
	}
}

func TestTable_ConfiguredTableIsMadeOnceAndNotChanged(t *testing.T) {
	cfg := cluster.DefaultConfig()
	cfg.Tables = []cluster.TableConfig{{ConfigHash: "1", Request: events.InitRequest{N: 2, Table: students("sh1")}}}
	w := newSim(t, cfg, "h1")
	w.run(5 * time.Second)
	w.wantAllReady()
	w.s.Cfg.Tables = []cluster.TableConfig{{ConfigHash: "2", Request: events.InitRequest{N: 9, Table: students("sh1", "sh2")}}}
	w.run(5 * time.Second)
	if len(w.db().Servers) != 2 || len(w.db().Table.Shards) != 1 {
		t.Fatalf("the table was changed: %+v", w.db())
	}
	w.wantEvent("table.refused", "StudT")

	cfg.Tables[0].Request.N = 0
	w = newSim(t, cfg, "h1")
	w.run(5 * time.Second)
	if e := w.wantEvent("table.refused", "StudT"); !strings.Contains(string(e.Data), "N is 0") {
		t.Errorf("the event does not say why: %s", e.Data)
	}
}

func TestTable_ServiceAndTableDoNotShareAName(t *testing.T) {
	w := withTable(t, 1, "h1")
	w.s.Cfg.Services = []cluster.ServiceConfig{{Name: "StudT", Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) { return base, nil }}}
	w.run(2 * time.Second)
	if len(w.s.Services) != 0 {
		t.Fatal("a service took the name of a table")
	}
	w.wantEvent("service.refused", "StudT")
	w.wantAllReady()
}
