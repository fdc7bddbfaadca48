package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

func (w *sim) addServers(req events.ServersRequest) *tableAnswer {
	w.t.Helper()
	if req.ID == "" {
		req.ID = fmt.Sprintf("a%d", w.rev)
	}
	return w.requestTable(events.APIAddServers, req)
}

func (w *sim) removeServers(n int, names ...string) *tableAnswer {
	w.t.Helper()
	return w.requestTable(events.APIRemoveServers, events.ServersRequest{ID: fmt.Sprintf("r%d", w.rev), N: n, Names: names})
}

func place(name string, shards ...string) events.Placement {
	return events.Placement{Name: name, Shards: shards}
}

func TestTable_InitRefusalsNameTheProblemAndChangeNothing(t *testing.T) {
	f := func(message string, code int, change func(*events.InitRequest)) {
		t.Helper()
		w := started(t, webConfig(1), "h1")
		req := events.InitRequest{N: 2, Table: students("sh1", "sh2")}
		change(&req)
		if got := w.init(req).refused(t, code); !strings.Contains(got, message) {
			t.Errorf("refused with %q, want %q", got, message)
		}
		w.run(2 * time.Second)
		if len(w.s.Tables) != 0 || len(w.logs) != 0 {
			t.Errorf("%s: refused, and made", message)
		}
	}
	f("N is 0", 400, func(a *events.InitRequest) { a.N = 0 })
	for _, name := range []string{"table", "data", "shard", "limit", "after", "Table"} { // no call could name a row
		f("the key cannot be called "+name, 400, func(a *events.InitRequest) {
			a.Table.Schema.Columns = append([]string{name}, a.Table.Schema.Columns[1:]...)
		})
	}
	for _, name := range []string{"status", "message", "Status"} { // answers by shard have them too
		f("a shard cannot be called "+name, 400, func(a *events.InitRequest) { a.Table.Shards[1].ID = name })
	}
	f("N is -1", 400, func(a *events.InitRequest) { a.N = -1 })
	f("at most 500", 400, func(a *events.InitRequest) { a.N = 501 })
	f("3 are placed", 400, func(a *events.InitRequest) { a.Servers = []events.Placement{place("S1"), place("S2"), place("S3")} })
	f("'sh9' is not defined", 400, func(a *events.InitRequest) { a.Servers = []events.Placement{place("S1", "sh9")} })
	f("'sh1' is listed twice", 400, func(a *events.InitRequest) { a.Servers = []events.Placement{place("S1", "sh1", "sh1")} })
	f("'S1' is listed twice", 400, func(a *events.InitRequest) { a.Servers = []events.Placement{place("S1"), place("S1")} })
	f("no such name", 400, func(a *events.InitRequest) { a.Servers = []events.Placement{place("no such name")} })
	f("defined twice", 400, func(a *events.InitRequest) { a.Table.Shards[1].ID = "SH1" })
	f("overlap", 400, func(a *events.InitRequest) { a.Table.Shards[1].Low = 5 })
	f("not positive", 400, func(a *events.InitRequest) { a.Table.Shards[1].Size = 0 })
	f("shards: missing", 400, func(a *events.InitRequest) { a.Table.Shards = nil })
	f("columns: missing", 400, func(a *events.InitRequest) { a.Table.Schema = events.Schema{} })
	f("engine", 400, func(a *events.InitRequest) { a.Engine = "oracle" })
	f("replicas", 400, func(a *events.InitRequest) { a.Replicas = -1 })
	f("a service is called 'web'", 409, func(a *events.InitRequest) { a.Table.Name = "web" })
	f("replicas are too many", 400, func(a *events.InitRequest) {
		a.N, a.Replicas, a.Table.Shards = 500, 500, nil
		for i := range 9 {
			a.Table.Shards = append(a.Table.Shards, events.Shard{ID: fmt.Sprintf("sh%d", i), Low: int64(i), Size: 1})
		}
	})

	w := withTable(t, 3, "h1")
	if got := w.init(events.InitRequest{N: 3}).refused(t, 409); !strings.Contains(got, "configured already") {
		t.Errorf("a second init: %s", got)
	}
	req := events.InitRequest{N: 1, Table: students("sh1"), Servers: []events.Placement{place(w.db().Servers[0].Name)}}
	req.Table.Name = "other"
	if got := w.init(req).refused(t, 400); !strings.Contains(got, "already in use") {
		t.Errorf("a name in use: %s", got)
	}
}

func TestTable_NamesThatAreLeftOpenAreRandom(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	got := w.init(events.InitRequest{N: 4, Servers: []events.Placement{place("Server[5]", "sh1"), place("Server0"), place("")}})
	w.run(5 * time.Second)
	added := got.servers(t).Added
	if len(added) != 4 || added[1] != "Server0" {
		t.Fatalf("servers are %v", added)
	}
	for _, i := range []int{0, 2, 3} {
		if !strings.HasPrefix(added[i], "Server") || len(added[i]) != len("Server12345") {
			t.Errorf("%q is no random name", added[i])
		}
	}
	if shards := w.server(added[0]).Shards; !slices.Equal(shards, []string{"sh1"}) {
		t.Errorf("the server that was given sh1 keeps %v", shards)
	}
}

func TestTable_AddPlacesOldAndNewShards(t *testing.T) {
	w := withTable(t, 3, "h1", "h2")
	w.write("sh3", 70)
	got := w.addServers(events.ServersRequest{N: 2, NewShards: []events.Shard{{ID: "sh5", Low: 4 * 4096, Size: 4096}},
		Servers: []events.Placement{place("Server4", "sh3", "sh5"), place("Server[5]", "sh2", "sh5")}})
	if got.answered {
		t.Fatal("answered before the new servers are filled")
	}
	w.slow = true
	w.run(5 * time.Second)
	if got.answered {
		t.Fatal("answered while a copy is under way")
	}
	if n, of := w.replicasReady(); n < 12 || of != 16 {
		t.Fatalf("%d of %d are ready while copies are under way, want the 12 that were and sh5", n, of)
	}
	w.slow = false
	w.run(3 * time.Second)
	reply := got.servers(t)
	if reply.N != 5 || len(reply.Added) != 2 || reply.Added[0] != "Server4" {
		t.Fatalf("reply is %+v", reply)
	}
	w.wantAllReady()
	if len(w.table().Shards) != 5 || len(w.table().Shards[4].Replicas) != 2 {
		t.Fatalf("route is %+v", w.table().Shards)
	}
	w.wantEvent("shard.filling", "StudT.sh3")
	w.wantEvent("shard.filled", "StudT.sh3")
	w.wantEvent("table.scaled", "StudT")
}

// Its id is free then, and the next one gets it.
func TestTable_AddedServerThatWasRemovedMeanwhileIsNoSuccess(t *testing.T) {
	w := withTable(t, 3, "h1")
	w.slow = true
	first := w.addServers(events.ServersRequest{ID: "first", N: 1, Servers: []events.Placement{place("XX", "sh1")}})
	id := w.server("XX").ID
	w.removeServers(1, "XX")
	second := w.addServers(events.ServersRequest{N: 1, Servers: []events.Placement{place("YY", "sh1")}})
	if w.server("YY").ID != id {
		t.Fatal("the id is not used again: this test shows nothing")
	}
	if got := first.refused(t, 409); !strings.Contains(got, "'XX'") {
		t.Errorf("refused with %q, want XX in it", got)
	}
	w.slow = false
	w.run(5 * time.Second)
	if added := second.servers(t).Added; !slices.Equal(added, []string{"YY"}) {
		t.Errorf("the second added %v, want YY", added)
	}
	again := w.addServers(events.ServersRequest{ID: "first", N: 1, Servers: []events.Placement{place("XX", "sh1")}})
	again.refused(t, 409)
}

func TestTable_AddedServerThatDiesIsReplacedAndTheRequestStillEnds(t *testing.T) {
	w := withTable(t, 3, "h1")
	got := w.addServers(events.ServersRequest{N: 1, Servers: []events.Placement{place("XX", "sh1")}})
	w.step(events.HeartbeatInterval)
	w.agents["h1"]["XX"].State = events.Dead
	w.run(5 * time.Second)
	if added := got.servers(t).Added; len(added) != 1 || added[0] == "XX" {
		t.Fatalf("added %v, want the replacement of XX", added)
	}
}

func TestTable_InitEndsThoughAServerWasRemovedMeanwhile(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	w.muted["S3"] = true
	got := w.init(events.InitRequest{N: 3, Table: students("sh1"), Servers: []events.Placement{place("S1"), place("S2"), place("S3")}})
	w.run(3 * time.Second)
	if got.answered {
		t.Fatal("answered before S3 is ready")
	}
	w.removeServers(1, "S3")
	w.run(2 * time.Second)
	if r := got.servers(t); r.N != 2 || !slices.Equal(r.Added, []string{"S1", "S2"}) {
		t.Fatalf("got %+v", r)
	}
}

func TestTable_AddDoesNotHoldUpTheRouteOfOldShards(t *testing.T) {
	w := withTable(t, 3, "h1")
	w.noLogs = events.ErrLogForeign
	got := w.addServers(events.ServersRequest{N: 1, NewShards: []events.Shard{{ID: "sh5", Low: 4 * 4096, Size: 4096}}, Servers: []events.Placement{place("Server4", "sh1", "sh5")}})
	w.run(3 * time.Second)
	if route := w.table(); len(route.Shards) != 4 || len(route.Servers) != 4 {
		t.Fatalf("%d shards on %d servers in the route, want the 4 old ones on all 4", len(route.Shards), len(route.Servers))
	}
	refused := 0
	for _, e := range w.emitted {
		if e.Entity+"."+e.Verb == "shard.refused" {
			refused++
		}
	}
	if refused != 1 {
		t.Fatalf("told %d times that the log cannot be made, want once", refused)
	}
	w.noLogs = nil
	w.run(3 * time.Second)
	got.servers(t)
	if len(w.table().Shards) != 5 {
		t.Fatal("the new shard is not in the route")
	}
}

func TestTable_AddRefusalsChangeNothing(t *testing.T) {
	f := func(message string, req events.ServersRequest) {
		t.Helper()
		w := withTable(t, 3, "h1")
		for i := range req.Servers {
			if req.Servers[i].Name == "@" {
				req.Servers[i].Name = w.db().Servers[0].Name
			}
		}
		if got := w.addServers(req).refused(t, 400); !strings.Contains(got, message) {
			t.Errorf("refused with %q, want %q", got, message)
		}
		if len(w.db().Servers) != 3 || len(w.db().Logs) != 4 {
			t.Errorf("%s: refused, and changed", message)
		}
	}
	sh5 := events.Shard{ID: "sh5", Low: 4 * 4096, Size: 4096}
	f("n is 0", events.ServersRequest{})
	f("Number of new servers (n) is greater than newly added instances", events.ServersRequest{N: 2, Servers: []events.Placement{place("S4", "sh1")}})
	f("2 are named, but n is 1", events.ServersRequest{N: 1, Servers: []events.Placement{place("S4", "sh1"), place("S5", "sh1")}})
	f("'sh9' is not defined", events.ServersRequest{N: 1, Servers: []events.Placement{place("S4", "sh9")}})
	f("already in use", events.ServersRequest{N: 1, Servers: []events.Placement{place("@", "sh1")}})
	f("defined twice", events.ServersRequest{N: 1, NewShards: []events.Shard{{ID: "sh1", Low: 99999, Size: 1}}, Servers: []events.Placement{place("S4", "sh1")}})
	f("overlap", events.ServersRequest{N: 1, NewShards: []events.Shard{{ID: "sh5", Low: 5, Size: 1}}, Servers: []events.Placement{place("S4", "sh5")}})
	f("not positive", events.ServersRequest{N: 1, NewShards: []events.Shard{{ID: "sh5", Low: 99999}}, Servers: []events.Placement{place("S4", "sh5")}})
	f("a shard cannot be called status", events.ServersRequest{N: 1, NewShards: []events.Shard{{ID: "status", Low: 99999, Size: 1}}, Servers: []events.Placement{place("S4", "status")}})
	f("'S4' is listed twice", events.ServersRequest{N: 2, NewShards: []events.Shard{sh5}, Servers: []events.Placement{place("S4", "sh5"), place("S4", "sh5")}})

	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	w.addServers(events.ServersRequest{N: 1, Servers: []events.Placement{place("S4")}}).refused(t, 400)
}

// A removed server's name is free again when it has ended: who wants it meanwhile
// waits, as for replicas.
func TestTable_NameOfARemovedServerIsWaitedFor(t *testing.T) {
	w := withTable(t, 6, "h1", "h2")
	name, other := w.db().Servers[2].Name, w.db().Servers[3].Name
	w.removeServers(1, name)
	w.run(100 * time.Millisecond)
	got := w.addServers(events.ServersRequest{N: 1, Servers: []events.Placement{place(name, "sh1")}})
	w.removeServers(1, other)
	w.run(100 * time.Millisecond)
	req := events.InitRequest{ID: "i2", N: 1, Table: students("sh1"), Servers: []events.Placement{place(other)}}
	req.Table.Name = "other"
	made := w.init(req)
	if got.answered || made.answered {
		t.Fatalf("answered %+v and %+v while a server has the name", got, made)
	}
	w.run(6 * time.Second) // below LostAfter
	if reply := got.servers(t); !slices.Equal(reply.Added, []string{name}) {
		t.Errorf("added %+v", reply)
	}
	if reply := made.servers(t); !slices.Equal(reply.Added, []string{other}) {
		t.Errorf("made %+v", reply)
	}
	w.wantAllReady()
}

// What goes on sending heartbeats under a name keeps it.
func TestTable_NameOfAServerThatGoesOnIsRefusedInTheEnd(t *testing.T) {
	w := withTable(t, 3, "h1")
	heard := events.ShardHeartbeat{Server: "S9", Incarnation: "one"}
	w.apply(w.s.ObserveServer(heard, w.now))
	got := w.addServers(events.ServersRequest{N: 1, Servers: []events.Placement{place("S9", "sh1")}})
	for end := w.now.Add(w.s.Cfg.TableTimeout + time.Second); w.now.Before(end); {
		heard.Sent = w.now
		w.apply(w.s.ObserveServer(heard, w.now))
		w.run(events.HeartbeatInterval)
	}
	got.refused(t, 400)
}

func TestTable_RemoveAnswersWhenRoutersServeWithoutAndStopsThem(t *testing.T) {
	w := withTable(t, 6, "h1", "h2")
	victim := w.db().Servers[2]
	got := w.removeServers(2, victim.Name)
	if got.answered {
		t.Fatal("answered before routers serve the route without them")
	}
	w.run(2 * time.Second)
	reply := got.servers(t)
	if reply.N != 4 || len(reply.Removed) != 2 || reply.Removed[0] != victim.Name {
		t.Fatalf("reply is %+v", reply)
	}
	w.run(2 * time.Second)
	if w.agents[victim.Host][victim.Name] != nil {
		t.Fatal("the removed server still runs")
	}
	w.wantAllReady()
	for _, sh := range w.table().Shards {
		if len(sh.Replicas) == 0 {
			t.Errorf("%s has lost all copies", sh.Shard)
		}
	}
	again := w.requestTable(events.APIRemoveServers, events.ServersRequest{ID: w.db().Answered[1].Request, N: 2, Names: []string{victim.Name}})
	w.run(time.Second)
	if r := again.servers(t); r.N != 4 || !slices.Equal(r.Removed, reply.Removed) {
		t.Fatalf("the same request again: %+v", r)
	}
}

func TestTable_RemoveRefusesTheLastCopy(t *testing.T) {
	f := func(n int, names []string, message string) {
		t.Helper()
		w := newSim(t, cluster.DefaultConfig(), "h1")
		w.run(2 * time.Second)
		made := w.init(events.InitRequest{N: 3, Table: students("sh1", "sh2"), Servers: []events.Placement{place("S1", "sh1"), place("S2", "sh1", "sh2"), place("S3", "sh1")}})
		w.run(3 * time.Second)
		made.servers(t)
		before := w.db()
		if got := w.removeServers(n, names...).refused(t, 400); !strings.Contains(got, message) {
			t.Errorf("refused with %q, want %q", got, message)
		}
		if fmt.Sprint(before) != fmt.Sprint(w.db()) {
			t.Errorf("rm %d %v: refused, and changed", n, names)
		}
	}
	f(0, nil, "n is 0")
	f(1, []string{"S1", "S3"}, "Length of server list is more than removable instances")
	f(4, nil, "only 3 servers")
	f(1, []string{"S9"}, "'S9' is not a server")
	f(2, []string{"S1", "S1"}, "'S1' is listed twice")
	f(1, []string{"S2"}, "'S2' has the last copy of shard 'sh2'")
	f(3, []string{"S1"}, "no 3 servers can go")
	f(3, []string{"S1", "S3"}, "no 3 servers can go")
}

// Both kinds have one /rm.
func TestTable_RemoveSaysHowTheOtherKindIsRemoved(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	made := w.init(events.InitRequest{N: 2, Table: students("sh1"), Servers: []events.Placement{place("Server7", "sh1")}})
	w.run(5 * time.Second)
	made.servers(t)
	replica := w.replicas()[0].Name
	want := `hostnames: 'Server7' is not a replica but a database server of table StudT; DELETE /rm {"n":1,"servers":["Server7"]} removes it`
	if got := w.scale(false, 1, "Server7"); got.err == nil || got.err.Error() != want {
		t.Errorf("got %v, want %s", got.err, want)
	}
	want = `servers: '` + replica + `' is not a server but a replica of service web; DELETE /rm {"n":1,"hostnames":["` + replica + `"]} removes it`
	if got := w.removeServers(1, replica).refused(t, 400); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(w.replicas()) != 2 || len(w.db().Servers) != 2 {
		t.Error("refused, and removed")
	}
}

func TestTable_RemoveRefusesTheLastReadyCopy(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 2, Table: students("sh1"), Servers: []events.Placement{place("S1", "sh1"), place("S2", "sh1")}})
	w.run(3 * time.Second)
	w.muted["S2"] = true
	w.run(3 * time.Second)
	if got := w.removeServers(1, "S1").refused(t, 400); !strings.Contains(got, "'sh1'") {
		t.Fatalf("refused with %q", got)
	}
	if got := w.removeServers(1); got.answered {
		t.Fatalf("removing any: %v", got.err)
	}
	w.run(2 * time.Second)
	if len(w.db().Servers) != 1 || w.db().Servers[0].Name != "S1" {
		t.Fatalf("%v is left, want S1", w.db().Servers)
	}
}

func TestTable_WhatIsNotReadyIsRemovedFirst(t *testing.T) {
	for seed := range uint64(20) {
		w := newSim(t, cluster.DefaultConfig(), "h1")
		w.run(2 * time.Second)
		w.init(events.InitRequest{N: 4, Table: students("sh1"), Replicas: 4, Servers: []events.Placement{place("S1"), place("S2"), place("S3"), place("S4")}})
		w.run(3 * time.Second)
		w.muted["S2"] = true
		w.run(3 * time.Second)
		w.s.Rng = rand.New(rand.NewPCG(seed, 0))
		got := w.removeServers(1)
		w.run(2 * time.Second)
		if removed := got.servers(t).Removed; !slices.Equal(removed, []string{"S2"}) {
			t.Errorf("seed %d: removed %v, want S2, which is silent", seed, removed)
		}
	}
}

func TestTable_RequestEndsAtItsDeadlineAndSaysWhatIsMissing(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	w.noLogs = events.ErrLogForeign
	got := w.init(events.InitRequest{N: 1})
	w.run(119 * time.Second)
	if got.answered {
		t.Fatalf("answered before its time: %v", got.err)
	}
	if len(w.s.TableRoutes) != 0 {
		t.Fatal("there is a route to shards without logs")
	}
	w.run(2 * time.Second)
	if r := got.refused(t, 504); !strings.Contains(r, "sh1") || !strings.Contains(r, "another history") {
		t.Fatalf("refused with %q", r)
	}

	empty := newSim(t, cluster.DefaultConfig())
	got = empty.init(events.InitRequest{N: 1})
	empty.run(121 * time.Second)
	got.refused(t, 503)
	if len(empty.s.Tables) != 0 {
		t.Fatal("made a table although nobody was told so")
	}
}

func TestTable_RepeatedInitChangesNothingAgain(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	first := w.init(events.InitRequest{ID: "same", N: 3})
	second := w.init(events.InitRequest{ID: "same", N: 3})
	w.run(4 * time.Second)
	if a, b := first.servers(t), second.servers(t); !slices.Equal(a.Added, b.Added) || len(w.db().Servers) != 3 || w.made != 4 {
		t.Fatalf("%v, then %v; %d servers, %d logs", a, b, len(w.db().Servers), w.made)
	}
}

func TestTable_CopiesOfAShardLieOnDifferentHosts(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 4, Table: students("sh1", "sh2"), Servers: []events.Placement{place("S1", "sh1"), place("S2", "sh2"), place("S3", "sh1"), place("S4", "sh2")}})
	w.run(3 * time.Second)
	for _, pair := range [][2]string{{"S1", "S3"}, {"S2", "S4"}} {
		if a, b := w.server(pair[0]).Host, w.server(pair[1]).Host; a == b {
			t.Errorf("%v keep the same shard, both on %s", pair, a)
		}
	}
	if len(w.onHost("h1")) != 2 {
		t.Errorf("%d of 4 servers lie on h1", len(w.onHost("h1")))
	}
}

func TestTable_ServersAreSpreadOverHosts(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 4, Servers: []events.Placement{place("S1", "sh1"), place("S2", "sh2"), place("S3", "sh3"), place("S4", "sh4")}})
	if n := len(w.onHost("h1")); n != 2 {
		t.Fatalf("%d of 4 servers that share nothing lie on h1", n)
	}
}

func TestTable_RemovedServerRunsUntilNoRouterUsesIt(t *testing.T) {
	w := withTable(t, 4, "h1")
	victim := w.db().Servers[0].Name
	old := w.s.TableRoutes["StudT"].Version
	got := w.removeServers(1, victim)
	outdatedServers := func() {
		w.s.Routers["r1"].Seen = w.now
		w.s.Routers["r1"].Heartbeat.Tables = map[string]events.Epoch{"StudT": old}
		w.decide()
	}
	outdatedServers()
	if !cluster.AssignedIn(w.s.Assigned["h1"].Value, victim) || got.answered {
		t.Fatalf("stopped, or answered (%v), while a router serves the old route", got.answered)
	}
	w.run(time.Second)
	if cluster.AssignedIn(w.s.Assigned["h1"].Value, victim) || !got.answered {
		t.Fatalf("not stopped, or not answered (%v), although every router serves the new route", got.answered)
	}
}
