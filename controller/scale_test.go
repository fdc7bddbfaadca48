package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

func TestScale_AddAnswersWhenTheReplicasServe(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	got := w.scale(true, 4, "S5", "S4", "S10")
	if got.answered {
		t.Fatal("answered before the replicas serve")
	}
	w.run(3 * time.Second)
	if !got.answered || got.err != nil {
		t.Fatalf("no answer, or an error: %v", got.err)
	}
	if len(got.reply.Replicas) != 7 {
		t.Fatalf("reply lists %v, want 7", got.reply.Replicas)
	}
	for _, name := range []string{"S5", "S4", "S10"} {
		if !slices.Contains(got.reply.Replicas, name) || !slices.Contains(got.reply.Added, name) {
			t.Errorf("%s is not among %v / %v", name, got.reply.Replicas, got.reply.Added)
		}
	}
	if len(got.reply.Added) != 4 {
		t.Errorf("added %v, want 4", got.reply.Added)
	}
}

func TestScale_AnswerWaitsForEveryLiveRouter(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.routers["r2"] = map[string]map[string]int{}
	w.step(events.HeartbeatInterval)
	w.silent["r2"] = true
	got := w.scale(false, 1)
	w.step(events.HeartbeatInterval)
	if got.answered {
		t.Fatal("answered while a router that was heard 0.5 s ago serves the old epoch")
	}
	w.run(2 * time.Second)
	if !got.answered {
		t.Fatal("no answer although the silent router is dead by now")
	}
}

func TestScale_RepeatedRequestChangesNothingAgain(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.scaleID("same", true, 2, "S5")
	w.run(3 * time.Second)
	again := w.scaleID("same", true, 2, "S5")
	w.run(3 * time.Second)
	if len(w.replicas()) != 5 {
		t.Fatalf("%d replicas after one request sent twice, want 5", len(w.replicas()))
	}
	if !again.answered || again.err != nil || !slices.Contains(again.reply.Replicas, "S5") {
		t.Fatalf("the repeated request got %+v", again)
	}
}

func TestScale_RefusalsNameTheProblemAndChangeNothing(t *testing.T) {
	full := strings.Repeat("x", 64)
	f := func(add bool, n int, names []string, code int, message string) {
		t.Helper()
		w := started(t, webConfig(3), "h1")
		if add {
			names = slices.Clone(names)
			for i := range names {
				if names[i] == "@" {
					names[i] = w.replicas()[0].Name
				}
			}
		}
		before := slices.Clone(w.replicas())
		got := w.scale(add, n, names...)
		var statusErr *events.StatusError
		if !errors.As(got.err, &statusErr) {
			t.Errorf("add=%v n=%d %v: got %v, want a refusal", add, n, names, got.err)
			return
		}
		if statusErr.Code != code || !strings.Contains(statusErr.Message, message) {
			t.Errorf("add=%v n=%d %v: got %d %q, want %d with %q", add, n, names, statusErr.Code, statusErr.Message, code, message)
		}
		w.run(time.Second)
		if !slices.Equal(before, w.replicas()) {
			t.Errorf("add=%v n=%d %v: refused, but replicas changed", add, n, names)
		}
	}
	f(true, 0, nil, 400, "n is 0")
	f(true, -1, nil, 400, "n is -1")
	f(true, 1, []string{"S1", "S2"}, 400, "Length of hostname list is more than newly added instances")
	f(true, 2, []string{"S1", "S1"}, 400, "'S1' is listed twice")
	f(true, 1, []string{"@"}, 400, "already in use")
	f(true, 1, []string{"no such name"}, 400, "no such name")
	f(true, 1, []string{full}, 400, "name")
	f(true, 1, []string{"-x"}, 400, "-x")
	f(true, 1000, nil, 400, "no slot is left")
	f(false, 0, nil, 400, "n is 0")
	f(false, 4, nil, 400, "only 3 replicas")
	f(false, 1, []string{"S1", "S2"}, 400, "Length of hostname list is more than removable instances")
	f(false, 1, []string{"S99"}, 400, "'S99' is not a replica")

	w := started(t, webConfig(1), "h1")
	if got := w.scaleID(strings.Repeat("x", events.MaxRequestBytes+1), true, 1); got.err == nil || !strings.Contains(got.err.Error(), "id: 129 bytes") {
		t.Errorf("a long id: got %v", got.err)
	}
}

func TestScale_CourseRefusesThe57thServer(t *testing.T) {
	w := started(t, webConfig(3, func(s *events.ServiceSpec) { s.Algorithm, s.Slots = events.Course, events.CourseSlots }), "h1")
	got := w.scale(true, 54)
	if got.err == nil || !strings.Contains(got.err.Error(), "at most 56") {
		t.Fatalf("57 servers: %v, want a refusal that names 56", got.err)
	}
	got = w.scale(true, 53)
	w.run(5 * time.Second)
	if got.err != nil || len(got.reply.Replicas) != 56 {
		t.Fatalf("56 servers: %v, %d replicas", got.err, len(got.reply.Replicas))
	}
}

// A name is used again as soon as its instance is gone.
func TestScale_AddWaitsForANameThatIsOnItsWayOut(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	victim := w.replicas()[2].Name
	w.routers["r1"]["web"] = map[string]int{victim: 2}
	w.scale(false, 1, victim)
	w.run(time.Second)
	first, second := w.scaleID("first", true, 1, victim), w.scaleID("second", true, 1, victim)
	w.run(time.Second)
	if first.answered || cluster.IsReplica(w.s.Services["web"].Value, victim) {
		t.Fatalf("%s was added while the one before it still ends: %v", victim, first.err)
	}
	delete(w.routers["r1"], "web")
	w.run(3 * time.Second)
	if !first.answered || first.err != nil || !slices.Contains(first.reply.Added, victim) {
		t.Errorf("got %+v", first)
	}
	if second.err == nil || !strings.Contains(second.err.Error(), "already in use") {
		t.Errorf("the second got %+v", second)
	}
}

// Nobody knows when a host that is away stops what it has.
func TestScale_AddDoesNotWaitForAHostThatIsAway(t *testing.T) {
	w := started(t, webConfig(4), "h1", "h2")
	at, _ := w.s.Placement(w.replicas()[0].Name)
	victim := w.replicas()[0].Name
	w.silent[at] = true
	w.run(20 * time.Second)
	if cluster.IsReplica(w.s.Services["web"].Value, victim) {
		t.Fatal("it was not replaced")
	}
	if got := w.scale(true, 1, victim); got.err == nil || !strings.Contains(got.err.Error(), "already in use") {
		t.Errorf("got %+v", got)
	}
}

func TestScale_IDsAreTheSmallestFree(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	second := w.replicas()[1].Name
	w.scale(false, 1, second)
	w.run(2 * time.Second)
	w.scale(true, 2, "SA", "SB")
	w.run(2 * time.Second)
	got := map[string]int{}
	for _, r := range w.replicas() {
		got[r.Name] = r.ID
	}
	if got["SA"] != 2 || got["SB"] != 4 {
		t.Fatalf("ids are %v, want SA 2 and SB 4", got)
	}
}

func TestScale_WhatDoesNotServeIsRemovedFirst(t *testing.T) {
	f := func(seed uint64, remove func(w *sim, dead, serves []string), left int) {
		t.Helper()
		w := started(t, webConfig(2), "h1")
		serves := w.members()
		w.broken = "nothere:1"
		w.s.Services["web"].Value.Spec.Image = w.broken
		w.scale(true, 2, "dead-1", "dead-2")
		w.run(time.Second)
		if got := w.members(); len(got) != 2 {
			t.Fatalf("%v serve, want 2 of 4", got)
		}
		w.s.Rng = rand.New(rand.NewPCG(seed, 0))
		remove(w, []string{"dead-1", "dead-2"}, serves)
		w.run(time.Second)
		if got := w.members(); len(got) != left {
			t.Errorf("seed %d: %v serve, want %d of %v; left are %v", seed, got, left, serves, w.replicas())
		}
	}
	for seed := range uint64(20) {
		f(seed, func(w *sim, _, _ []string) { w.scale(false, 1) }, 2)
		f(seed, func(w *sim, _, _ []string) { w.scale(false, 2) }, 2)
		f(seed, func(w *sim, _, _ []string) { w.scale(false, 3) }, 1)
		f(seed, func(w *sim, dead, _ []string) { w.scale(false, 2, dead[0]) }, 2)
		f(seed, func(w *sim, _, serves []string) { w.scale(false, 2, serves[0]) }, 1)
		f(seed, func(w *sim, _, _ []string) {
			w.s.Cfg.Services = webConfig(3).Services
			w.s.Cfg.Services[0].ConfigHash = "2"
			w.decide()
		}, 2)
	}
}

func TestScale_RemoveAllThenAdd(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	got := w.scale(false, 2)
	w.run(2 * time.Second)
	if got.err != nil || !got.answered || len(got.reply.Replicas) != 0 || len(w.agents["h1"]) != 0 {
		t.Fatalf("removing all: %+v, %d run", got, len(w.agents["h1"]))
	}
	got = w.scale(true, 1)
	w.run(2 * time.Second)
	if got.err != nil || len(got.reply.Replicas) != 1 {
		t.Fatalf("adding one again: %+v", got)
	}
}

func TestScale_AddedReplicaThatDiesIsReplacedAndTheRequestStillEnds(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	got := w.scale(true, 1, "S5")
	w.agents["h1"]["S5"] = &events.InstanceStatus{Name: "S5", Service: "web", ID: 4, State: events.Dead, Detail: "exit status 1"}
	w.run(3 * time.Second)
	if !got.answered || got.err != nil || len(got.reply.Replicas) != 4 {
		t.Fatalf("got %+v, want an answer with 4 replicas", got)
	}
}

// Its id is free then, and the next one gets it.
func TestScale_AddedReplicaThatWasRemovedMeanwhileIsNoSuccess(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	first := w.scale(true, 1, "S5")
	w.scale(false, 1, "S5")
	second := w.scale(true, 1, "S6")
	w.run(3 * time.Second)
	var statusErr *events.StatusError
	if !errors.As(first.err, &statusErr) || statusErr.Code != 409 || !strings.Contains(statusErr.Message, "'S5'") {
		t.Fatalf("got %+v, want 409 about S5", first)
	}
	if second.err != nil || !slices.Equal(second.reply.Added, []string{"S6"}) {
		t.Errorf("the second got %+v, want S6", second)
	}
	if w.s.Services["web"].Value.Replicas[3].ID != 4 {
		t.Fatal("the id is not used again: this test shows nothing")
	}
	if again := w.scaleID(first.id, true, 1, "S5"); !errors.As(again.err, &statusErr) || statusErr.Code != 409 {
		t.Errorf("the same request again got %+v, want 409", again)
	}
}

func TestScale_AddOfSeveralOfWhichOneWasRemovedIsNoSuccess(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	got := w.scale(true, 2, "S5", "S6")
	w.scale(false, 1, "S6")
	w.run(3 * time.Second)
	if got.err == nil || !strings.Contains(got.err.Error(), "of 2 that were added 1 have been removed since") {
		t.Fatalf("got %+v", got)
	}
	if !slices.Contains(w.members(), "S5") {
		t.Error("S5, which nobody removed, does not serve")
	}
}

func TestScale_AReplacementIsKnownToTheNextLeader(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.scaleID("same", true, 1, "S5")
	w.agents["h1"]["S5"] = &events.InstanceStatus{Name: "S5", Service: "web", ID: 4, State: events.Dead, Detail: "exit status 1"}
	w.run(time.Second)
	w.elect()
	w.run(3 * time.Second)
	again := w.scaleID("same", true, 1, "S5")
	w.run(time.Second)
	if !again.answered || again.err != nil || len(again.reply.Added) != 1 || again.reply.Added[0] == "S5" {
		t.Fatalf("got %+v, want the replacement of S5", again)
	}
}

func TestScale_RequestEndsAtItsDeadlineAndSaysWhatIsMissing(t *testing.T) {
	w := started(t, webConfig(1), "h1")
	w.silent["h1"] = true
	got := w.scale(true, 1, "S5")
	w.run(61 * time.Second)
	var statusErr *events.StatusError
	if !errors.As(got.err, &statusErr) || statusErr.Code != 504 || !strings.Contains(statusErr.Message, "S5") {
		t.Fatalf("got %v, want 504 about S5", got.err)
	}
}

func TestFreshName(t *testing.T) {
	w := started(t, webConfig(1), "h1")
	svc := w.s.Services["web"].Value
	seen := map[string]bool{}
	for range 1000 {
		name := cluster.FreshName(w.s, svc)
		if events.ValidName(name) != nil || !strings.HasPrefix(name, "web-") {
			t.Fatalf("%q is no good name", name)
		}
		seen[name] = true
	}
	if len(seen) < 990 {
		t.Fatalf("only %d of 1000 names differ", len(seen))
	}
	svc.Spec.Name = fmt.Sprintf("%063d", 1)
	if name := cluster.FreshName(w.s, svc); events.ValidName(name) != nil {
		t.Fatalf("%q is no valid name", name)
	}
}
