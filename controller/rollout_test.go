package controller

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// configure starts the leader's next term with another configuration.
func (w *sim) configure(digest string, change func(*events.ServiceSpec)) {
	w.s.Cfg.Services = []cluster.ServiceConfig{{Name: "web", ConfigHash: digest, Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) {
		change(&base)
		return base, base.Validate()
	}}}
}

// commands lists what is assigned, by replica.
func (w *sim) commands() (out []string) {
	for _, r := range w.replicas() {
		at, ok := w.s.Placement(r.Name)
		if !ok {
			out = append(out, "nothing")
			continue
		}
		for _, i := range w.s.Assigned[at].Value.Instances {
			if i.Name == r.Name {
				out = append(out, append(i.Command, "sample")[0])
			}
		}
	}
	return out
}

// serve lets time pass, in which at least so many replicas serve, and at most one is followed.
func (w *sim) serve(d time.Duration, atLeast int) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.step(events.HeartbeatInterval)
		if n := len(w.members()); n < atLeast {
			w.t.Fatalf("%d serve, want %d at least: %+v, of which %v", n, atLeast, w.replicas(), w.commands())
		}
		if next := w.following(); len(next) > 1 {
			w.t.Fatalf("%v are followed at once; want one at a time", next)
		}
	}
}

func (w *sim) following() []events.Replica {
	return slices.DeleteFunc(slices.Clone(w.replicas()), func(r events.Replica) bool { return r.Next == "" })
}

func (w *sim) wantCommands(want ...string) {
	w.t.Helper()
	if got := w.commands(); !slices.Equal(got, want) || len(w.members()) != len(want) {
		w.t.Fatalf("commands are %v and %d serve; want %v, and all", got, len(w.members()), want)
	}
}

func command(name string) func(*events.ServiceSpec) {
	return func(s *events.ServiceSpec) { s.Command = []string{name} }
}

func TestDecide_AnotherCommandIsRolledOutOneReplicaAtATime(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	before := w.replicas()
	w.configure("2", command("app"))
	w.serve(9*time.Second, 3)
	if first := w.following(); len(first) != 1 || !slices.Contains(w.members(), first[0].Next) || slices.Contains(w.members(), first[0].Name) {
		t.Fatalf("after 9 s %v are followed and %v serve; want one, whose requests go to the new one", first, w.members())
	}
	w.wantEvent("instance.draining", w.following()[0].Name)
	w.serve(24*time.Second, 3)
	w.wantCommands("app", "app", "app")
	for i, r := range w.replicas() {
		if r.ID != before[i].ID || r.Name == before[i].Name || r.Next != "" {
			t.Errorf("replica %+v became %+v, want the id under a new name", before[i], r)
		}
	}
	w.wantEvent("instance.replaced", before[0].Name)
}

func TestDecide_MinReadyIsAsConfigured(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.configure("2", func(s *events.ServiceSpec) { s.Command, s.MinReady = []string{"app"}, 0 })
	w.serve(5*time.Second, 3)
	w.wantCommands("app", "app", "app")
}

func TestDecide_CommandThatDoesNotWorkCostsNothingAndCanBeCorrected(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	before := w.replicas()
	w.broken = "typo"
	w.configure("2", command("typo"))
	w.serve(time.Minute, 3)
	if !slices.Equal(before, w.replicas()) {
		t.Fatalf("replicas went from %v to %v", before, w.replicas())
	}
	emitted := w.wantEvent("service.halted", "web")
	if why := w.s.Services["web"].Value.Stuck; why == "" || status(w.s, w.now).Services[0].Detail != why || !strings.Contains(string(emitted.Data), "did not become ready") {
		t.Errorf("nobody is told why: %q, %s", why, emitted.Data)
	}

	// What dies meanwhile comes back as it was.
	_, st := w.find(before[0].Name)
	st.State = events.Dead
	w.run(3 * time.Second)
	w.wantCommands("sample", "sample", "sample")

	w.configure("3", command("app"))
	w.serve(40*time.Second, 3)
	w.wantCommands("app", "app", "app")
}

// A release that does not work, given while nobody serves, replaces nothing: the
// replicas begin with what ran last.
func TestDecide_BadReleaseAfterAStopReplacesNothing(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	w.run(12 * time.Second)
	before := w.replicas()
	for _, host := range []string{"h1", "h2"} {
		clear(w.agents[host])
	}
	w.broken, w.replies = "typo", 4*time.Second
	w.elect()
	w.configure("2", command("typo"))
	w.run(7 * time.Second)
	w.serve(2*time.Minute, 3)
	w.wantCommands("sample", "sample", "sample")
	if got := w.replicas(); !slices.Equal(got, before) {
		t.Errorf("replicas went from %v to %v", before, got)
	}
	w.wantEvent("service.halted", "web")
}

// A release that gets ready and ends a while later takes nobody down: it is
// taken back before the next replica has it.
func TestDecide_ReleaseThatDiesLateIsTakenBack(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		for _, after := range []time.Duration{1500 * time.Millisecond, 4 * time.Second, 8 * time.Second} {
			w := started(t, webConfig(replicas), "h1", "h2")
			w.late, w.lateAfter = "late", after
			before := w.replicas()
			w.configure("2", command("late"))
			w.serve(time.Minute, replicas)
			if got := w.replicas(); !slices.Equal(got, before) {
				t.Errorf("replicas went from %v to %v", before, got)
			}
			if e := w.wantEvent("service.halted", "web"); !strings.Contains(string(e.Data), "did not stay ready: exit status 3") {
				t.Errorf("nobody is told why: %s", e.Data)
			}
		}
	}
}

// What the first replicas got on with is taken back from them when a later one cannot.
func TestDecide_HaltedRolloutGoesBackEverywhere(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	w.configure("2", command("app"))
	w.serve(14*time.Second, 3)
	w.broken = "app" // from now on
	w.serve(3*time.Minute, 3)
	w.wantCommands("sample", "sample", "sample")
	w.wantEvent("service.halted", "web")
}

func TestDecide_RepairedReleaseSupersedesABadOneAtOnce(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	w.broken = "typo"
	w.configure("2", command("typo"))
	w.serve(3*time.Second, 3)
	bad := w.following()[0].Next
	w.configure("3", command("app"))
	w.serve(events.HeartbeatInterval, 3)
	if next := w.following(); len(next) != 1 || next[0].Next == bad {
		t.Fatalf("%v are followed; want another than %s, at once", next, bad)
	}
	w.serve(40*time.Second, 3)
	w.wantCommands("app", "app", "app")
	if w.agents["h1"][bad] != nil || w.agents["h2"][bad] != nil {
		t.Error("the bad one runs on")
	}
}

// A replica that does not run for another reason does not stop a rollout without a word.
func TestDecide_RolloutThatWaitsSaysForWhat(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.configure("2", command("app"))
	w.serve(15*time.Second, 3)
	first := w.replicas()[0].Name
	_, st := w.find(first)
	st.State, st.Detail = events.Unready, "no disk"
	w.run(12 * time.Second)
	if e := w.wantEvent("service.postponed", "web"); !strings.Contains(string(e.Data), first) || !strings.Contains(string(e.Data), "no disk") {
		t.Errorf("the event does not say what it waits for: %s", e.Data)
	}
	if got := status(w.s, w.now).Services[0].Detail; !strings.Contains(got, "1 replicas are to be replaced; the change waits: "+first) {
		t.Errorf("status says %q", got)
	}
	st.State, st.Detail = events.Ready, ""
	w.serve(30*time.Second, 3)
	w.wantCommands("app", "app", "app")
}

// A replica that dies while its next one starts is filled by what ran last, or by
// the next one if that is known to be good.
func TestDecide_DeadReplicaIsNotFilledByWhatHasNotProvedGood(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	w.configure("2", command("app"))
	w.serve(events.HeartbeatInterval, 2)
	old, next := w.replicas()[0].Name, w.replicas()[0].Next
	_, st := w.find(old)
	st.State = events.Dead
	w.step(events.HeartbeatInterval)
	if got := w.replicas()[0]; got.Name == old || got.Name == next || got.Next != next {
		t.Fatalf("the dead replica became %+v, want a new one before %s", got, next)
	}
	w.step(events.HeartbeatInterval)
	if got := w.commands()[0]; got != "sample" {
		t.Errorf("it runs %s, want what ran last", got)
	}
	w.serve(11*time.Second, 2)
	next = w.replicas()[1].Next
	_, st = w.find(w.replicas()[1].Name)
	st.State = events.Dead
	w.step(events.HeartbeatInterval)
	if got := w.replicas()[1]; got.Name != next {
		t.Fatalf("the dead replica became %+v, want %s, whose release is good", got, next)
	}
	w.serve(10*time.Second, 2)
	w.wantCommands("app", "app")
}

// Whatever is released while replicas die and leaders change, all but one of what
// was ever good serve, and in the end all run the last good release.
func TestDecide_RolloutsNeverTakeAServiceDown(t *testing.T) {
	t.Parallel() // with the sites, which wait
	seeds := uint64(4)
	if os.Getenv("RINGWAY_LONG") != "" {
		seeds = 60
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 11))
		n := 2 + rng.IntN(4)
		w := started(t, webConfig(n), "h1", "h2", "h3")
		w.broken, w.late, w.ends = "never", "late", "ends"
		w.replies = time.Duration(rng.IntN(3)) * time.Second
		w.run(12 * time.Second)
		for i := range 150 {
			switch rng.IntN(20) {
			case 0:
				w.lateAfter = w.replies + time.Duration(1+rng.IntN(18))*500*time.Millisecond
				w.configure(fmt.Sprint("c", i), command([]string{"one", "two", "never", "late", "ends"}[rng.IntN(5)]))
			case 1:
				if rng.IntN(3) == 0 {
					w.elect()
				}
			case 2:
				if replicas := w.replicas(); len(w.following()) == 0 && len(w.members()) == n {
					_, st := w.find(replicas[rng.IntN(n)].Name)
					st.State = events.Dead
				}
			}
			w.step(events.HeartbeatInterval)
			if got := len(w.members()); got < n-1 {
				t.Fatalf("seed %d: %d of %d serve: %+v, of which %v", seed, got, n, w.replicas(), w.commands())
			}
		}
		w.configure("last", command("last"))
		w.serve(time.Duration(n)*20*time.Second+30*time.Second, n-1)
		for i, c := range w.commands() {
			if c != "last" {
				t.Fatalf("seed %d: replica %d runs %s in the end: %+v", seed, i, c, w.s.Services["web"].Value)
			}
		}
	}
}

func TestDecide_CommandThatNeverWorkedIsReplacedEverywhereAtOnce(t *testing.T) {
	w := newSim(t, webConfig(3, func(s *events.ServiceSpec) { s.Command = []string{"typo"} }), "h1")
	w.broken = "typo"
	w.run(3 * time.Second)
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	w.run(3 * events.HeartbeatInterval)
	if len(w.members()) != 3 {
		t.Fatalf("%v serve after the correction (%v), want 3", w.members(), w.commands())
	}
}

func TestDecide_ConfigurationThatOnlyRoutersApplyReplacesNothing(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	before := w.replicas()
	w.configure("2", func(s *events.ServiceSpec) { s.LoadFactor, s.Drain, s.Env = 2, 0, map[string]string{} })
	w.run(3 * time.Second)
	if !slices.Equal(before, w.replicas()) {
		t.Fatalf("replicas went from %v to %v", before, w.replicas())
	}
}

// A file's number of replicas counts when it changes; what people add or remove
// stands until then, and status says so.
func TestDecide_RequestsStandUntilTheFilesNumberChanges(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	file := func(hash string, replicas int, change ...func(*events.ServiceSpec)) {
		w.configure(hash, func(s *events.ServiceSpec) {
			s.Replicas = replicas
			for _, f := range change {
				f(s)
			}
		})
		w.s.Cfg.Services[0].Replicas = &replicas
		w.run(2 * time.Second)
	}
	want := func(n int, detail string) {
		t.Helper()
		if got := status(w.s, w.now).Services[0]; got.Wanted != n || got.Serving != n || got.Detail != detail {
			t.Fatalf("got %+v, want %d replicas and %q", got, n, detail)
		}
	}
	file("2", 4)
	want(4, "")
	w.scale(true, 2)
	w.run(2 * time.Second)
	want(6, "6 replicas by request; the file's 4 counts when that number is changed")
	file("3", 4, func(s *events.ServiceSpec) { s.LoadFactor = 2 })
	want(6, "6 replicas by request; the file's 4 counts when that number is changed")
	file("4", 5)
	want(5, "")
}

// Only a configuration that was given later is followed: a standby with an older
// file takes nothing back when it leads, and says so.
func TestDecide_AnOlderFileIsNotFollowed(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	given := func(hash, name string, at time.Time) {
		w.configure(hash, command(name))
		w.s.Cfg.Services[0].Given = at
	}
	noon := w.now
	given("new", "new", noon)
	w.serve(40*time.Second, 3)
	w.wantCommands("new", "new", "new")
	w.elect()
	given("old", "old", noon.Add(-time.Hour))
	w.serve(40*time.Second, 3)
	w.wantCommands("new", "new", "new")
	w.wantEvent("service.refused", "web")
	if got := status(w.s, w.now).Services[0].Detail; !strings.Contains(got, "this controller has another configuration, of 2025-12-31 23:00:03, than the one of 2026-01-01 00:00:03 that is followed") {
		t.Errorf("status says %q", got)
	}
	given("old", "old", noon.Add(time.Hour)) // given again
	w.serve(40*time.Second, 3)
	w.wantCommands("old", "old", "old")
}

// The same file, given again, tries again what was halted.
func TestDecide_TheSameFileAgainTriesAgain(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	w.broken = "app"
	w.configure("2", command("app"))
	w.serve(time.Minute, 3)
	w.wantEvent("service.halted", "web")
	w.broken = ""
	w.serve(time.Minute, 3)
	w.wantCommands("sample", "sample", "sample")
	w.s.Cfg.Services[0].Given = w.now
	w.serve(40*time.Second, 3)
	w.wantCommands("app", "app", "app")
}
