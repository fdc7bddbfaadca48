package controller

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

func TestTable_InitMakesLogsStartsServersAndAnswersWhenAllIsReady(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2", "h3")
	w.run(2 * time.Second)
	got := w.init(events.InitRequest{N: 3, Table: students("sh1", "sh2", "sh3"), Engine: "sqlite", Servers: []events.Placement{
		{Name: "Server0", Shards: []string{"sh1", "sh2"}}, {Name: "Server1", Shards: []string{"sh2", "sh3"}}, {Name: "Server2", Shards: []string{"sh1", "sh3"}},
	}})
	if got.answered {
		t.Fatal("answered before any replica is ready")
	}
	if w.made != 3 {
		t.Fatalf("%d logs were made, want 3", w.made)
	}
	w.run(5 * time.Second)
	reply := got.servers(t)
	if reply.N != 3 || !slices.Equal(reply.Added, []string{"Server0", "Server1", "Server2"}) || reply.Epoch != w.s.TableRoutes["StudT"].Version {
		t.Fatalf("reply is %+v", reply)
	}
	w.wantAllReady()
	hosts, responder := map[string]int{}, map[string]int{}
	for _, srv := range w.table().Servers {
		hosts[srv.Host]++
		if srv.Address == "" {
			t.Errorf("%s has no address", srv.Name)
		}
		_, st := w.find(srv.Name)
		if st.Kind != events.KindShard || st.Service != "StudT" || st.Volume == "" {
			t.Errorf("%s runs as %+v", srv.Name, *st)
		}
	}
	for _, sh := range w.table().Shards {
		responder[sh.Responder]++
	}
	if len(hosts) != 3 || len(responder) != 3 {
		t.Errorf("servers lie on %v, responders are %v; want each on its own", hosts, responder)
	}
	for _, kind := range []string{"table.created", "instance.assigned", "shard.ready", "shard.eager", "route.changed"} {
		w.wantEvent(kind, "")
	}
	w.write("sh1", 5)
	w.run(time.Second)
	st := status(w.s, w.now)
	if len(st.Tables) != 1 || len(st.Tables[0].Shards) != 3 || st.Tables[0].Shards[0].LastSeq != 5 || st.Tables[0].Shards[0].Replicas[0].State != events.ReplicaReady {
		t.Errorf("status says %+v", st.Tables)
	}
	if len(st.Instances) != 3 || !st.Instances[0].Serving {
		t.Errorf("instances are %+v", st.Instances)
	}
}

func TestTable_EagerSaysTrulyWhyItIs(t *testing.T) {
	w := withTable(t, 1, "h1")
	name := w.db().Servers[0].Name
	reasons := func() (all []string) {
		for _, e := range w.emitted {
			if e.Verb == events.VerbResponder && e.About == "StudT.sh1" {
				var data struct{ Server, Reason string }
				if err := json.Unmarshal(e.Data, &data); err != nil {
					t.Fatal(err)
				}
				all = append(all, data.Server+": "+data.Reason)
			}
		}
		return all
	}
	w.agents["h1"][name].State = events.Unready
	w.run(time.Second)
	w.agents["h1"][name].State = events.Ready
	w.run(time.Second)
	const back = ": no replica was ready just before"
	want := []string{name + back, ": no replica is ready", name + back}
	if got := reasons(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	w.emitted = nil
	delete(w.s.TableRoutes, "StudT") // somebody did
	w.decide()
	want = []string{name + ": it is ready in the first route of the shard"}
	if got := reasons(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable_DeadServerIsReplacedOnItsData(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	victim := w.db().Servers[1]
	_, st := w.find(victim.Name)
	st.State, st.Detail = events.Dead, "killed by signal 9"
	w.now = w.now.Add(time.Millisecond)
	w.apply(w.s.ObserveHost(w.hostHeartbeat(victim.Host), w.now))
	first := w.p.Decide(w.now)
	if _, ok := first[0].(cluster.PutTableRoute); !ok {
		t.Fatalf("the first effect of a death is %T, want a route without it", first[0])
	}
	w.apply(first)
	if n, of := w.replicasReady(); n != of-len(victim.Shards) {
		t.Fatalf("%d of %d are ready, want %d fewer", n, of, len(victim.Shards))
	}
	w.run(3 * time.Second)
	next := w.db().Servers[1]
	if next.Name == victim.Name || next.ID != victim.ID || next.Volume != victim.Volume || next.Host != victim.Host || !slices.Equal(next.Shards, victim.Shards) {
		t.Fatalf("%+v was replaced by %+v", victim, next)
	}
	w.wantAllReady()
	w.wantEvent("instance.replaced", victim.Name)
	if w.agents[victim.Host][victim.Name] != nil {
		t.Error("the dead server is still assigned")
	}
}

func TestTable_ReplicaOnAnotherLogIsNotReady(t *testing.T) {
	w := withTable(t, 3, "h1")
	srv := w.db().Servers[0].Name
	heartbeat := *w.s.Servers[srv].Heartbeat
	heartbeat.Replicas = slices.Clone(heartbeat.Replicas)
	for i := range heartbeat.Replicas {
		heartbeat.Replicas[i].Applied.Incarnation = "OTHER"
	}
	w.apply(w.s.ObserveServer(heartbeat, w.now))
	w.decide()
	for _, sh := range w.table().Shards {
		if cluster.IsReady(sh, srv) {
			t.Errorf("%s on %s follows another log, and is ready", sh.Shard, srv)
		}
	}
}

func TestTable_EagerStaysWhileItIsReady(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2", "h3")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 3, Table: students("sh1")})
	w.run(3 * time.Second)
	responder := w.table().Shards[0].Responder
	w.write("sh1", 3)
	w.muted[responder] = true // the others report that they are ahead of it
	w.step(events.HeartbeatInterval)
	delete(w.muted, responder)
	victim := w.db().Servers[slices.IndexFunc(w.db().Servers, func(s events.ShardServer) bool { return s.Name != responder })]
	_, st := w.find(victim.Name)
	st.State = events.Dead
	w.now = w.now.Add(10 * time.Millisecond)
	w.apply(w.s.ObserveHost(w.hostHeartbeat(victim.Host), w.now))
	w.decide()
	if got := w.table().Shards[0].Responder; got != responder {
		t.Fatalf("responder %s became %s though it is ready", responder, got)
	}
	w.run(3 * time.Second)
	w.wantAllReady()
	if got := w.table().Shards[0].Responder; got != responder {
		t.Fatalf("responder %s became %s though it is ready", responder, got)
	}
}

// Servers become ready one after the other, and die and come back.
func TestTable_EagerTasksAreSpreadAgain(t *testing.T) {
	w := withTable(t, 4, "h1", "h2", "h3", "h4")
	spread := func() {
		t.Helper()
		tasks := map[string]int{}
		for _, sh := range w.table().Shards {
			tasks[sh.Responder]++
		}
		if len(tasks) != 4 {
			t.Fatalf("tasks of responders are %v, want one on each of four servers", tasks)
		}
	}
	spread()
	for range 3 {
		var back []string
		for _, srv := range w.db().Servers[1:] {
			w.muted[srv.Name] = true
			back = append(back, srv.Name)
		}
		w.run(3 * time.Second)
		for _, name := range back {
			delete(w.muted, name)
			w.run(time.Second)
		}
		spread()
	}
}

func TestTable_OvertakenHeartbeatIsDropped(t *testing.T) {
	w := withTable(t, 3, "h1")
	srv := w.db().Servers[0].Name
	late := *w.s.Servers[srv].Heartbeat
	late.Sent, late.Replicas = w.now.Add(-100*time.Millisecond), nil
	w.apply(w.s.ObserveServer(late, w.now))
	if len(w.s.Servers[srv].Heartbeat.Replicas) == 0 {
		t.Fatal("a heartbeat of the past was believed")
	}
}

func TestTable_DeadServersAreForgotten(t *testing.T) {
	w := withTable(t, 3, "h1")
	victim := w.db().Servers[0].Name
	_, st := w.find(victim)
	st.State = events.Dead
	w.run(20 * time.Second)
	if len(w.s.Servers) != 3 {
		t.Fatalf("%v are remembered", slices.Sorted(maps.Keys(w.s.Servers)))
	}
}

// Shard servers listen long before their databases answer.
func TestTable_RouteEventsSayWhatIsNew(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 4})
	servers := w.db().Servers
	changes := func() (reported []events.Event) {
		for _, e := range w.emitted {
			if e.Entity+"."+e.Verb == "route.changed" && e.About == "StudT" {
				reported = append(reported, e)
			}
		}
		return reported
	}
	for _, srv := range servers {
		w.muted[srv.Name] = true
	}
	w.run(5 * time.Second)
	for _, srv := range w.table().Servers {
		if srv.Address == "" {
			t.Fatalf("%s cannot be reached", srv.Name)
		}
	}
	if reported := changes(); len(reported) != 1 {
		t.Errorf("before anybody is ready: %d changes are told: %v", len(reported), reported)
	}
	for _, srv := range servers {
		w.muted[srv.Name] = false
		w.run(2 * time.Second)
	}
	w.wantAllReady()
	if reported := changes(); len(reported) < 1+len(servers) {
		t.Errorf("only %d changes are told: %v", len(reported), reported)
	}
	emitted := len(changes())
	i := w.agents[w.server(servers[0].Name).Host][servers[0].Name]
	i.Address = "127.0.0.1:1"
	w.run(time.Second)
	route := w.table()
	if now, _ := route.Server(servers[0].Name); now.Address != i.Address || len(changes()) == emitted {
		t.Errorf("%s moved to %s, the route says %s, told %t", now.Name, i.Address, now.Address, len(changes()) > emitted)
	}
}
