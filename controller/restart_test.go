package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// configureServers starts the leader's next term with another configuration of
// the table's servers.
func (w *sim) configureTableServers(digest string, change func(*events.ServerSpec)) {
	w.s.Cfg.Servers = []cluster.ServersConfig{{Table: "StudT", ConfigHash: digest, Overlay: func(base events.ServerSpec) (events.ServerSpec, error) {
		change(&base)
		return base, events.ValidServerSpec(base)
	}}}
}

func image(name string) func(*events.ServerSpec) {
	return func(s *events.ServerSpec) { s.Image = name }
}

// images lists what is assigned, by server.
func (w *sim) images() map[string]string {
	found := map[string]string{}
	for _, a := range w.s.Assigned {
		for _, i := range a.Value.Instances {
			if i.Kind == events.KindShard {
				found[i.Name] = i.Image
			}
		}
	}
	return found
}

// wantImages wants every server to run an image.
func (w *sim) wantImages(image string) {
	w.t.Helper()
	got := w.images()
	for _, srv := range w.db().Servers {
		if got[srv.Name] != image {
			w.t.Fatalf("images are %v, want %q everywhere", got, image)
		}
	}
}

// roll lets time pass, and wants no shard to lose more than one replica, nor
// its last, and no two servers to be away at once.
func (w *sim) roll(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.step(events.HeartbeatInterval)
		w.wantAtMostOneDown()
	}
}

func (w *sim) wantAtMostOneDown() {
	w.t.Helper()
	down := map[string]bool{}
	for _, sh := range w.table().Shards {
		ready := 0
		for _, r := range sh.Replicas {
			if r.Ready {
				ready++
			} else {
				down[r.Server] = true
			}
		}
		if ready < len(sh.Replicas)-1 || ready == 0 {
			w.t.Fatalf("%d of %d replicas of %s are ready: %+v", ready, len(sh.Replicas), sh.Shard, sh.Replicas)
		}
	}
	if len(down) > 1 {
		w.t.Fatalf("%v are away at once", slices.Sorted(maps.Keys(down)))
	}
}

// about lists whom events of a kind are about, in order.
func (w *sim) about(kind string) (names []string) {
	for _, e := range w.emitted {
		if e.Entity+"."+e.Verb == kind {
			names = append(names, e.About)
		}
	}
	return names
}

// until takes steps until something is so.
func (w *sim) until(what string, so func() bool) {
	w.t.Helper()
	for range 400 {
		if so() {
			return
		}
		w.step(events.HeartbeatInterval)
	}
	w.t.Fatalf("it never came to this: %s; servers are %+v", what, w.db().Servers)
}

// renewing finds the server that is started anew.
func (w *sim) renewing() (found events.ShardServer, ok bool) {
	for _, srv := range w.db().Servers {
		if srv.Renewal != nil {
			return srv, true
		}
	}
	return events.ShardServer{}, false
}

// follow makes another leader of what is stored.
func (w *sim) nextLeader(term uint64) {
	cfg, old := w.s.Cfg, w.s
	w.s = cluster.New(cfg, events.Token{Incarnation: "lease", Revision: term}, term, w.now)
	w.s.Services, w.s.Tables = old.Services, maps.Clone(old.Tables)
	w.s.Assigned, w.s.Routes, w.s.TableRoutes = old.Assigned, old.Routes, old.TableRoutes
	w.s.AssumeAlive(w.now)
	w.p = newPlan(w.s)
}

func TestTable_AnotherImageIsRolledOutOneServerAtATime(t *testing.T) {
	w := withTable(t, 6, "h1", "h2", "h3")
	before := w.db().Servers
	w.configureTableServers("1", image("new"))
	w.until("the first begins", func() bool { _, ok := w.renewing(); return ok })
	for range 60 {
		w.write("sh1", 1)
		w.write("sh3", 1)
		w.step(events.HeartbeatInterval)
		w.wantAtMostOneDown()
		if n := strings.Count(strings.Join(w.verbs(), " "), "instance.renewing") - strings.Count(strings.Join(w.verbs(), " "), "instance.renewed"); n > 1 {
			t.Fatalf("%d are renewed at once", n)
		}
	}
	w.wantImages("new")
	w.wantAllReady()
	for i, srv := range w.db().Servers {
		was := before[i]
		if srv.Name != was.Name || srv.ID != was.ID || srv.Volume != was.Volume || srv.Host != was.Host || srv.Behind || srv.Renewal != nil {
			t.Errorf("%+v became %+v, want the same server", was, srv)
		}
	}
	var names []string
	for _, srv := range before {
		names = append(names, srv.Name)
	}
	if got := w.about("instance.renewed"); !slices.Equal(got, names) {
		t.Errorf("renewed in the order %v, want that of ids, %v", got, names)
	}
	if db := w.db(); db.Before != nil || db.Stuck != "" || status(w.s, w.now).Tables[0].Detail != "" {
		t.Errorf("all is done, and there is left: %+v", db)
	}
	if e := w.wantEvent("instance.renewing", names[0]); !strings.Contains(string(e.Data), "another image") {
		t.Errorf("the event does not say why: %s", e.Data)
	}
}

func TestTable_EachPartOfWhatServersRunIsApplied(t *testing.T) {
	w := withTable(t, 3, "h1")
	for i, change := range []func(*events.ServerSpec){
		func(s *events.ServerSpec) { s.Engine = "sqlite" },
		func(s *events.ServerSpec) { s.Env = map[string]string{"LEVEL": "2"} },
		func(s *events.ServerSpec) { s.Limits.Memory = 1 << 30 },
	} {
		w.emitted = nil
		w.configureTableServers(fmt.Sprint(i), change)
		w.roll(15 * time.Second)
		if n := len(w.about("instance.renewed")); n != 3 {
			t.Errorf("change %d: %d of 3 were renewed", i, n)
		}
	}
	for _, i := range w.s.Assigned["h1"].Value.Instances {
		if i.Kind == events.KindShard && (i.Engine != "sqlite" || i.Env["LEVEL"] != "2" || i.Limits.Memory != 1<<30) {
			t.Errorf("assigned is %+v", i)
		}
	}
	w.emitted = nil
	w.configureTableServers("same", func(s *events.ServerSpec) { s.Engine = "sqlite" })
	w.roll(5 * time.Second)
	if n := len(w.about("instance.renewing")); n != 0 {
		t.Errorf("the same once more renews %d", n)
	}
}

func TestTable_ConfigurationOfServersIsThereBeforeTheTable(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.configureTableServers("1", image("new"))
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 3})
	w.run(5 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
	if n := len(w.about("instance.renewing")); n != 0 {
		t.Errorf("%d were started with something else first", n)
	}
}

func TestTable_OnlyReplicaIsRenewedAndItIsSaid(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1")
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 2, Replicas: 1, Table: students("sh1", "sh2")})
	w.run(5 * time.Second)
	w.write("sh1", 7)
	w.run(time.Second)
	name := w.db().Servers[0].Name
	w.configureTableServers("1", image("new"))
	w.run(20 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
	if e := w.wantEvent("instance.renewing", name); !strings.Contains(string(e.Data), `"pauses":["sh1"]`) || !strings.Contains(string(e.Data), "reads of these shards pause") {
		t.Errorf("nobody is told that reads pause: %s", e.Data)
	}
}

// A heartbeat that was late says nothing of the server that has its name now.
func TestTable_LateHeartbeatOfAFormerIncarnationIsDropped(t *testing.T) {
	w := withTable(t, 3, "h1")
	name := w.db().Servers[0].Name
	_, st := w.find(name)
	late := w.serverHeartbeat(*st)
	w.configureTableServers("1", image("new"))
	w.muted[name] = true
	w.s.Servers[name].Seen = w.now
	w.until("it is started anew", func() bool {
		srv, ok := w.renewing()
		if !ok || srv.Stopping() || w.agents["h1"][name] == nil {
			w.s.Servers[name].Seen = w.now
			return false
		}
		return true
	})
	late.Sent = w.now
	w.apply(w.s.ObserveServer(late, w.now))
	w.decide()
	if srv, ok := w.renewing(); !ok || srv.Name != name || cluster.IsReady(w.table().Shards[0], name) {
		t.Fatalf("it counts as ready by a word of its life before: %+v", srv)
	}
}

func TestTable_ConfigurationThatChangesDuringTheRolloutIsApplied(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	w.configureTableServers("1", image("b"))
	w.until("two are done", func() bool { return len(w.about("instance.renewed")) == 2 })
	w.configureTableServers("2", image("c"))
	w.roll(40 * time.Second)
	w.wantImages("c")
	w.wantAllReady()

	w.emitted = nil
	w.configureTableServers("3", image("d"))
	w.until("two are done", func() bool { return len(w.about("instance.renewed")) == 2 })
	w.configureTableServers("4", image("c")) // back
	w.roll(40 * time.Second)
	w.wantImages("c")
	w.wantAllReady()
	if db := w.db(); db.Before != nil || len(w.about("instance.renewing")) > 6 {
		t.Errorf("those that had not been renewed were: %v, left is %+v", w.about("instance.renewing"), db.Before)
	}
}

// Two lives of a server never share its name, nor its volume.
func TestTable_ServerBeginsAnewWhenItsAgentHasEndedIt(t *testing.T) {
	w := withTable(t, 3, "h1")
	name := w.db().Servers[0].Name
	w.foreign = map[string]bool{name: true} // it takes its time
	w.configureTableServers("1", image("new"))
	w.roll(60 * time.Second)
	if _, there := w.images()[name]; there || !w.server(name).Stopping() {
		t.Fatalf("assigned again while it ends: %v, %+v", w.images(), w.server(name))
	}
	// It is gone by the word of an agent that may be about to start it, for it
	// has not read the newest assignment.
	w.foreign = nil
	heartbeat := w.hostHeartbeat("h1")
	heartbeat.Instances = slices.DeleteFunc(heartbeat.Instances, func(i events.InstanceStatus) bool { return i.Name == name })
	heartbeat.Assigned = events.Version{}
	w.apply(w.s.ObserveHost(heartbeat, w.now))
	w.decide()
	if _, there := w.images()[name]; there {
		t.Fatal("assigned again to an agent that knows an older assignment")
	}
	w.roll(20 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
}
