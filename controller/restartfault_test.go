package controller

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

func TestTable_ImageThatDoesNotWorkStopsTheRollAndGoesBack(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	first := w.db().Servers[0].Name
	w.broken = "typo"
	w.configureTableServers("1", image("typo"))
	w.roll(2 * time.Minute)
	w.wantImages("")
	w.wantAllReady()
	if got := w.about("instance.renewing"); !slices.Equal(got, []string{first}) {
		t.Errorf("%v were touched, want %s alone", got, first)
	}
	if w.server(first).Renewal != nil {
		t.Errorf("it went back, and is still renewed: %+v", w.server(first))
	}
	emitted := w.wantEvent("table.halted", "StudT")
	if why := w.db().Stuck; !strings.Contains(why, first) || !strings.Contains(string(emitted.Data), "did not get ready") || status(w.s, w.now).Tables[0].Detail != why {
		t.Errorf("nobody is told why: %q, %s", why, emitted.Data)
	}

	// What dies meanwhile comes back as it was, and a new one runs what works too.
	_, st := w.find(w.db().Servers[1].Name)
	st.State = events.Dead
	w.run(3 * time.Second)
	w.wantImages("")
	w.wantAllReady()

	w.emitted = nil
	w.configureTableServers("2", image("good"))
	w.roll(30 * time.Second)
	w.wantImages("good")
	w.wantAllReady()
}

func TestTable_ServerThatDiesWhenItIsStartedAnewStopsTheRoll(t *testing.T) {
	w := withTable(t, 3, "h1")
	w.configureTableServers("1", image("new"))
	w.until("the first is started anew", func() bool {
		srv, ok := w.renewing()
		return ok && !srv.Stopping() && w.images()[srv.Name] == "new"
	})
	srv, _ := w.renewing()
	w.agents["h1"][srv.Name] = &events.InstanceStatus{Name: srv.Name, Service: "StudT", ID: srv.ID, Kind: events.KindShard, Volume: srv.Volume, State: events.Dead, Detail: "image new cannot be pulled"}
	w.roll(10 * time.Second)
	if why := w.db().Stuck; !strings.Contains(why, "cannot be pulled") {
		t.Errorf("stuck is %q", why)
	}
	w.wantImages("")
	w.wantAllReady()
	if w.server(srv.Name).ID != srv.ID {
		t.Errorf("%s lost its name for it", srv.Name)
	}
}

// Its health endpoint answers, but its database does not.
func TestTable_ServerThatNeverOpensStopsTheRollAfterAWhile(t *testing.T) {
	w := withTable(t, 3, "h1")
	name := w.db().Servers[0].Name
	w.configureTableServers("1", image("new"))
	w.until("the first is away", func() bool { return w.agents["h1"][name] == nil })
	w.muted[name] = true
	w.roll(w.s.Cfg.RestartTimeout - 20*time.Second)
	if w.db().Stuck != "" {
		t.Fatalf("given up too soon: %s", w.db().Stuck)
	}
	w.roll(30 * time.Second)
	if w.db().Stuck == "" {
		t.Fatal("waits for ever")
	}
	w.muted[name] = false
	w.roll(10 * time.Second)
	w.wantImages("")
	w.wantAllReady()
}

func TestTable_NextLeaderGoesOnWithTheRoll(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	before := w.db().Servers
	w.configureTableServers("1", image("new"))
	term := uint64(1)
	for i := range 120 {
		if i%3 == 2 { // in every state that there is
			term++
			w.nextLeader(term)
		}
		w.step(events.HeartbeatInterval)
		w.wantAtMostOneDown()
	}
	w.roll(20 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
	if got := w.about("instance.renewed"); len(got) != len(before) {
		t.Errorf("renewed were %v, want each once", got)
	}
	for i, srv := range w.db().Servers {
		if srv.Name != before[i].Name {
			t.Errorf("%s became %s", before[i].Name, srv.Name)
		}
	}
}

func TestTable_CrashOfAnotherServerHoldsTheRollAndComesBackAsItWas(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	w.configureTableServers("1", image("new"))
	w.until("the first is started anew", func() bool {
		srv, ok := w.renewing()
		return ok && srv.Renewal.Stopped
	})
	first, _ := w.renewing()
	w.muted[first.Name] = true // takes long
	last := w.db().Servers[3]
	_, st := w.find(last.Name)
	st.State = events.Dead
	w.run(10 * time.Second)
	next := w.db().Servers[3]
	if next.Name == last.Name || w.images()[next.Name] != "" || !next.Behind {
		t.Fatalf("the dead %+v became %+v, running %q; want another name and what it ran", last, next, w.images()[next.Name])
	}
	if n := len(w.about("instance.renewing")); n != 1 {
		t.Fatalf("%d were renewed while the first is not ready", n)
	}
	w.muted[first.Name] = false
	w.roll(30 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
}

func TestTable_NoServerIsStoppedThatIsNeeded(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3") // each keeps all four shards
	w.silent["h3"] = true
	w.run(4 * time.Second)
	w.configureTableServers("1", image("new"))
	w.run(20 * time.Second)
	if got := w.about("instance.renewing"); len(got) > 0 {
		t.Fatalf("%v were begun with while a replica of each shard is not ready", got)
	}
	if why := status(w.s, w.now).Tables[0].Detail; !strings.Contains(why, "is not ready") {
		t.Errorf("nobody is told what it waits for: %q", why)
	}
	w.silent["h3"] = false
	w.roll(30 * time.Second)
	w.wantImages("new")
}

// One that serves nobody can be helped although others need help too.
func TestTable_WhatNeverWorkedIsCorrected(t *testing.T) {
	w := newSim(t, cluster.DefaultConfig(), "h1", "h2")
	w.broken = "typo"
	w.configureTableServers("1", image("typo"))
	w.run(2 * time.Second)
	w.init(events.InitRequest{N: 3})
	w.run(5 * time.Second)
	w.configureTableServers("2", image("good"))
	w.run(30 * time.Second)
	w.wantImages("good")
	w.wantAllReady()
}

// It is to end, and routers do not know it yet, when another one is lost.
func TestTable_ServerThatIsNeededAfterAllStays(t *testing.T) {
	w := withTable(t, 3, "h1")
	w.configureTableServers("1", image("new"))
	w.silent["r1"] = false
	for _, r := range w.s.Routers {
		r.Heartbeat.Tables = nil // serves older routes
	}
	w.decide()
	first, ok := w.renewing()
	if ok {
		t.Fatalf("%s was begun although a router serves an older route", first.Name)
	}
	w.step(events.HeartbeatInterval)
	first, ok = w.renewing()
	if !ok || !first.Stopping() {
		t.Fatalf("nothing is to end: %+v", w.db().Servers)
	}
	_, st := w.find(w.db().Servers[1].Name)
	st.State = events.Dead
	w.apply(w.s.ObserveHost(w.hostHeartbeat("h1"), w.now))
	w.decide()
	if first = w.server(first.Name); first.Renewal != nil {
		t.Fatalf("%+v is still to end", first)
	}
	w.wantEvent("instance.postponed", first.Name)
	if i := w.agents["h1"][first.Name]; i == nil {
		t.Fatal("it was stopped")
	}
	w.run(30 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
}

func TestTable_HostThatIsLostDuringTheRollDoesNotEndIt(t *testing.T) {
	w := withTable(t, 4, "h1", "h2", "h3", "h4")
	w.configureTableServers("1", image("new"))
	w.until("one has ended", func() bool {
		srv, ok := w.renewing()
		return ok && srv.Renewal.Stopped
	})
	srv, _ := w.renewing()
	w.silent[srv.Host] = true
	w.run(30 * time.Second)
	if n := len(w.about("instance.renewing")); n != 1 || w.db().Stuck != "" {
		t.Fatalf("%d were begun with, stuck is %q", n, w.db().Stuck)
	}
	w.run(2 * time.Minute)
	w.wantImages("new")
	w.wantAllReady()
	if w.db().Stuck != "" || w.db().Before != nil {
		t.Errorf("left is %+v", w.db())
	}
	i := slices.IndexFunc(w.db().Servers, func(s events.ShardServer) bool { return s.ID == srv.ID })
	if moved := w.db().Servers[i]; !slices.Contains(w.about("instance.renewed"), moved.Name) {
		t.Errorf("%+v, filled elsewhere, was started with what nobody has got ready with", moved)
	}
	w.silent[srv.Host] = false
	w.run(5 * time.Second)
	if n := len(w.agents[srv.Host]); n != 0 {
		t.Errorf("the host that came back runs %v", slices.Sorted(maps.Keys(w.agents[srv.Host])))
	}
}

func TestTable_HostThatReturnsGoesOnWithItsRenewal(t *testing.T) {
	w := withTable(t, 4, "h1", "h2")
	w.configureTableServers("1", image("new"))
	w.until("one is to end", func() bool { srv, ok := w.renewing(); return ok && srv.Stopping() })
	srv, _ := w.renewing()
	w.silent[srv.Host] = true
	w.run(20 * time.Second)
	w.silent[srv.Host] = false
	w.run(60 * time.Second)
	w.wantImages("new")
	w.wantAllReady()
	if w.server(srv.Name).Volume != srv.Volume {
		t.Errorf("%+v became %+v", srv, w.server(srv.Name))
	}
}
