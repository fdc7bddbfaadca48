package controller

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/services"
	"ringway/events"
)

func TestDecide_StartsWhatIsConfiguredAndSpreadsIt(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	for host, instances := range w.agents {
		if len(instances) != 1 {
			t.Errorf("host %s runs %d instances, want 1", host, len(instances))
		}
	}
	ids := []int{}
	for _, r := range w.replicas() {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, []int{1, 2, 3}) {
		t.Errorf("ids are %v, want 1 2 3", ids)
	}
	for _, kind := range []string{"host.joined", "service.created", "instance.assigned", "instance.ready", "route.changed"} {
		w.wantEvent(kind, "")
	}
	shares := map[uint16]int{}
	for _, o := range w.s.Routes["web"].Value.Slots {
		shares[o]++
	}
	for o, n := range shares {
		if n < 5461 || n > 5462 {
			t.Errorf("member %d owns %d slots, want a third of 16384", o, n)
		}
	}
}

func TestDecide_WaitsForExpectedHostsBeforePlacing(t *testing.T) {
	cfg := webConfig(3)
	cfg.ExpectHosts = 3
	w := newSim(t, cfg, "h1")
	w.step(10 * time.Millisecond)
	if len(w.s.Assigned) != 0 {
		t.Fatal("placed while two expected hosts had not been heard")
	}
	w.agents["h2"], w.agents["h3"] = map[string]*events.InstanceStatus{}, map[string]*events.InstanceStatus{}
	w.step(10 * time.Millisecond)
	if len(w.s.Assigned) != 3 {
		t.Fatalf("placed on %d hosts after all were heard, want 3", len(w.s.Assigned))
	}
}

func TestDecide_DeadInstanceLeavesTheRouteFirstThenIsReplacedUnderANewName(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	victim := w.replicas()[1]
	_, st := w.find(victim.Name)
	st.State, st.Detail = events.Dead, "killed by signal 9"

	w.now = w.now.Add(time.Millisecond)
	w.apply(w.s.ObserveHost(w.hostHeartbeat("h1"), w.now))
	first := w.p.Decide(w.now)
	if _, ok := first[0].(cluster.PutRoute); !ok {
		t.Fatalf("the first effect of a death is %T, want a route without it", first[0])
	}
	w.apply(first)
	if slices.Contains(w.members(), victim.Name) {
		t.Fatal("the dead member is still in the route")
	}
	w.run(2 * time.Second)
	if got := w.replicas()[1]; got.ID != victim.ID || got.Name == victim.Name {
		t.Fatalf("replacement is %+v, want another name and id %d", got, victim.ID)
	}
	if len(w.members()) != 3 {
		t.Fatalf("%d members serve after the replacement, want 3", len(w.members()))
	}
	e := w.wantEvent("instance.replaced", victim.Name)
	if !strings.Contains(string(e.Data), "signal 9") {
		t.Errorf("the event does not say why: %s", e.Data)
	}
}

func TestDecide_InstanceThatNeverGetsReadyIsReplacedEverMoreSlowlyAndSaysSo(t *testing.T) {
	w := newSim(t, webConfig(1, command("ends")), "h1")
	w.ends = "ends"
	w.run(time.Minute)
	replaced := 0
	for _, kind := range w.verbs() {
		if kind == "instance.replaced" {
			replaced++
		}
	}
	if replaced < 4 || replaced > 12 {
		t.Fatalf("replaced %d times in a minute; the wait doubles from 0.5 s to 30 s, so expect 4 to 12", replaced)
	}
	if e := w.wantEvent("instance.looping", ""); !strings.Contains(string(e.Data), "crash loop: 3 in a row ended before they served") || !strings.Contains(string(e.Data), "exit status 1") {
		t.Errorf("the event says %s", e.Data)
	}
	if got := status(w.s, w.now).Instances[0].Detail; !strings.HasPrefix(got, "crash loop: ") || !strings.HasSuffix(got, "; exit status 1") {
		t.Errorf("the list says %q", got)
	}
}

// What was ready has served: it is replaced at once, however often that happens.
func TestDecide_InstanceThatWasReadyIsReplacedAtOnce(t *testing.T) {
	w := started(t, webConfig(1), "h1")
	for range 40 {
		_, st := w.find(w.replicas()[0].Name)
		st.State = events.Dead
		w.run(time.Second)
		if len(w.members()) != 1 {
			t.Fatalf("not replaced a second after its death: %+v", w.replicas())
		}
	}
	if slices.Contains(w.verbs(), "instance.looping") {
		t.Error("called a crash loop")
	}
}

func TestDecide_SilentHostIsSuspectedThenLostAndReplacedElsewhere(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	var onH1 string
	for name := range w.agents["h1"] {
		onH1 = name
	}
	w.silent["h1"] = true
	at := w.now
	w.run(1000 * time.Millisecond)
	if !slices.Contains(w.members(), onH1) {
		t.Fatal("out of rotation after 1 s of silence already")
	}
	w.run(1000 * time.Millisecond)
	if slices.Contains(w.members(), onH1) {
		t.Fatalf("still in rotation after %s of silence", w.now.Sub(at))
	}
	if !cluster.IsWanted(w.s.Services["web"].Value, onH1) {
		t.Fatal("replaced although its host is only suspect")
	}
	for _, i := range status(w.s, w.now).Instances {
		if want := map[bool]string{true: "host h1 is suspect"}[i.Name == onH1]; i.Detail != want {
			t.Errorf("detail of %s is %q, want %q", i.Name, i.Detail, want)
		}
	}
	w.run(8 * time.Second)
	if cluster.IsWanted(w.s.Services["web"].Value, onH1) || len(w.members()) != 3 {
		t.Fatalf("10 s after: wanted %v, members %v", w.replicas(), w.members())
	}
	w.wantEvent("host.suspect", "h1")
	w.wantEvent("host.lost", "h1")

	w.silent["h1"] = false
	w.run(3 * time.Second)
	w.wantEvent("host.returned", "h1")
	if len(w.agents["h1"]) != 0 {
		t.Fatalf("the host that came back still runs %v", w.agents["h1"])
	}
	total := len(w.agents["h2"]) + len(w.agents["h3"])
	if total != 3 || len(w.members()) != 3 {
		t.Fatalf("%d instances run, %d serve; want 3 and 3", total, len(w.members()))
	}
}

func TestDecide_LostHostIsForgottenWhenItHasNothing(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	w.silent["h1"] = true
	w.run(9 * time.Minute)
	if w.s.Hosts["h1"] == nil {
		t.Fatal("a lost host is not listed any more after 9 minutes")
	}
	w.run(2 * time.Minute)
	if w.s.Hosts["h1"] != nil {
		t.Fatal("a host that was lost 11 minutes ago is still listed")
	}
	w.silent["h1"] = false
	w.run(time.Second)
	if w.s.Hosts["h1"] == nil {
		t.Fatal("a forgotten host that comes back is not heard")
	}
}

func TestDecide_SuspectThatReturnsIsNotReplaced(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	before := w.replicas()
	w.silent["h1"] = true
	w.run(4 * time.Second)
	w.silent["h1"] = false
	w.run(time.Second)
	if !slices.Equal(before, w.replicas()) || len(w.members()) != 3 {
		t.Fatalf("replicas went from %v to %v, members %v", before, w.replicas(), w.members())
	}
}

func TestDecide_HeartbeatsCountAlthoughTheHostsClockIsSetBack(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	w.clock = map[string]time.Duration{"h2": -time.Hour}
	w.run(10 * time.Second)
	if got := w.s.Hosts["h2"].State; got != events.Alive {
		t.Fatalf("h2 beats and is %s", got)
	}
}

func TestDecide_OvertakenHeartbeatIsDropped(t *testing.T) {
	w := started(t, webConfig(1), "h1")
	late := w.hostHeartbeat("h1")
	late.Sent, late.Instances = w.now.Add(-100*time.Millisecond), nil
	w.apply(w.s.ObserveHost(late, w.now))
	if len(w.s.Hosts["h1"].Heartbeat.Instances) != 1 {
		t.Fatal("a heartbeat of the past was believed")
	}
}

func TestDecide_SuspicionTakesOutHalfAtMost(t *testing.T) {
	f := func(silent []string, hosts []string, want int) {
		t.Helper()
		w := started(t, webConfig(4), hosts...)
		for _, h := range silent {
			w.silent[h] = true
		}
		w.run(4 * time.Second)
		if got := len(w.members()); got != want {
			t.Errorf("%v of %v silent: %d of 4 serve, want %d", silent, hosts, got, want)
		}
	}
	f([]string{"h1"}, []string{"h1"}, 4)
	f([]string{"h1"}, []string{"h1", "h2"}, 2)
	f([]string{"h1", "h2"}, []string{"h1", "h2"}, 2)
	f([]string{"h1", "h2", "h3"}, []string{"h1", "h2", "h3", "h4"}, 2)
	f([]string{"h1"}, []string{"h1", "h2", "h3", "h4"}, 3)
}

func TestDecide_OnlyHostLostKeepsServing(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	before := w.replicas()
	w.silent["h1"] = true
	w.run(20 * time.Second)
	if len(w.members()) != 3 || !slices.Equal(before, w.replicas()) {
		t.Fatalf("with no other host, %d of 3 serve and replicas went from %v to %v", len(w.members()), before, w.replicas())
	}
}

func TestDecide_IsolatedLeaderJudgesNobody(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2", "h3")
	w.now = w.now.Add(30 * time.Second) // a pause: nothing is received, not even its own heartbeats
	w.decide()
	if len(w.members()) != 3 {
		t.Fatalf("after a pause of its own the leader took %d members out", 3-len(w.members()))
	}
	// It receives again: everybody counts as just seen.
	w.s.ObserveSelf(events.ControllerHeartbeat{Term: w.s.Term, Sent: w.now}, w.now)
	w.now = w.now.Add(time.Second)
	w.s.ObserveSelf(events.ControllerHeartbeat{Term: w.s.Term, Sent: w.now}, w.now)
	w.decide()
	if len(w.members()) != 3 {
		t.Fatal("hosts were judged by their silence during the leader's pause")
	}
	// A heartbeat of its own that is old proves nothing.
	w.now = w.now.Add(10 * time.Second)
	w.s.ObserveSelf(events.ControllerHeartbeat{Term: w.s.Term, Sent: w.now.Add(-9 * time.Second)}, w.now)
	w.decide()
	if len(w.members()) != 3 {
		t.Fatal("an old heartbeat of its own made the leader judge")
	}
}

func TestDecide_HungInstanceLeavesAtOnceAndIsReplacedLater(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	victim := w.replicas()[0].Name
	_, st := w.find(victim)
	st.State, st.Detail = events.Unready, "probe: timeout"
	w.step(10 * time.Millisecond)
	if slices.Contains(w.members(), victim) {
		t.Fatal("an instance that fails its probes is in rotation")
	}
	w.run(10 * time.Second)
	if !cluster.IsWanted(w.s.Services["web"].Value, victim) {
		t.Fatal("replaced too early")
	}
	w.run(25 * time.Second)
	if cluster.IsWanted(w.s.Services["web"].Value, victim) || len(w.members()) != 3 {
		t.Fatalf("after 35 s it is still wanted, or %d serve", len(w.members()))
	}
	if len(w.agents["h1"]) != 3 {
		t.Fatalf("%d instances run, want 3: the hung one is stopped", len(w.agents["h1"]))
	}
}

func TestDecide_RemovalDrainsBeforeItStops(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	victim := w.replicas()[2].Name
	w.routers["r1"]["web"] = map[string]int{victim: 2}
	w.scale(false, 1, victim)
	w.run(5 * time.Second)
	if w.agents["h1"][victim] == nil {
		t.Fatal("stopped while a router has requests there")
	}
	if slices.Contains(w.members(), victim) {
		t.Fatal("a removed member owns slots")
	}
	if m, ok := services.Routed(w.s, "web", victim); !ok || !m.Draining {
		t.Fatal("a removed member with requests in flight is not in the route as draining")
	}
	delete(w.routers["r1"], "web")
	w.run(time.Second)
	if w.agents["h1"][victim] != nil {
		t.Fatal("drained, but not stopped")
	}
	w.wantEvent("instance.draining", victim)
	w.wantEvent("instance.removed", victim)
}

func TestDecide_DrainingEndsAtItsDeadline(t *testing.T) {
	w := started(t, webConfig(2, func(s *events.ServiceSpec) { s.Drain = events.Duration(5 * time.Second) }), "h1")
	victim := w.replicas()[0].Name
	w.routers["r1"]["web"] = map[string]int{victim: 1}
	w.scale(false, 1, victim)
	w.run(4 * time.Second)
	if w.agents["h1"][victim] == nil {
		t.Fatal("stopped before the deadline")
	}
	w.run(2 * time.Second)
	if w.agents["h1"][victim] != nil {
		t.Fatal("not stopped at the deadline")
	}
}

func TestDecide_DrainWaitsForARouterThatIsBehind(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	victim := w.replicas()[0].Name
	old := w.s.Routes["web"].Version
	w.scale(false, 1, victim)
	behind := func() {
		w.s.Routers["r1"].Seen = w.now
		w.s.Routers["r1"].Heartbeat.Epochs = map[string]events.Epoch{"web": old}
		w.decide()
	}
	behind()
	if a := w.s.Assigned["h1"].Value; !cluster.AssignedIn(a, victim) {
		t.Fatal("taken from its host while a router serves the old epoch")
	}
	w.run(time.Second)
	if a := w.s.Assigned["h1"].Value; cluster.AssignedIn(a, victim) {
		t.Fatal("not taken from its host although every router serves the new epoch")
	}
}

func TestDecide_AdoptsWhatOutlivedItsBus(t *testing.T) {
	w := newSim(t, webConfig(3), "h1", "h2")
	w.agents["h1"]["old-a"] = &events.InstanceStatus{Name: "old-a", Service: "web", ID: 1, State: events.Ready, Address: "10.0.0.1:1"}
	w.agents["h2"]["old-b"] = &events.InstanceStatus{Name: "old-b", Service: "web", ID: 3, State: events.Ready, Address: "10.0.0.2:1"}
	w.run(4 * time.Second)
	for _, name := range []string{"old-a", "old-b"} {
		if !slices.Contains(w.members(), name) {
			t.Errorf("%s ran already and is not a member: %v", name, w.members())
		}
	}
	if len(w.members()) != 3 {
		t.Errorf("%d members, want 3", len(w.members()))
	}
	if at, _ := w.s.Placement("old-b"); at != "h2" {
		t.Errorf("old-b runs on h2 but is assigned to %s", at)
	}
	// Routers serve both still, and would apply a route that has less.
	first := w.wantEvent("route.changed", "web")
	if joined := string(first.Data); !strings.Contains(joined, "old-a") || !strings.Contains(joined, "old-b") {
		t.Errorf("the first route is %s", joined)
	}
}

func TestDecide_ConfigurationIsAppliedWhenItChangesOnly(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.scale(true, 2)
	w.run(2 * time.Second)
	if len(w.replicas()) != 5 {
		t.Fatalf("%d replicas after adding 2 to 3", len(w.replicas()))
	}
	cfg := webConfig(4)
	cfg.ID, cfg.Services[0].ConfigHash = "c1", "2"
	w.s.Cfg = cfg
	w.run(2 * time.Second)
	if len(w.replicas()) != 4 || len(w.members()) != 4 {
		t.Fatalf("%d replicas, %d serve after the configuration changed to 4", len(w.replicas()), len(w.members()))
	}
}
