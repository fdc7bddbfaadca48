package controller

import (
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

func TestDecide_AnotherCommandIsRolledOutOneReplicaAtATime(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	before := w.replicas()
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	for range 20 {
		w.step(events.HeartbeatInterval)
		if n := len(w.members()); n < 3 {
			t.Fatalf("%d of 3 serve during the change, want all", n)
		}
		next := slices.DeleteFunc(slices.Clone(w.replicas()), func(r events.Replica) bool { return r.Next == "" })
		if len(next) > 1 {
			t.Fatalf("%v are followed at once; want one at a time", next)
		}
	}
	if got, want := w.commands(), []string{"app", "app", "app"}; !slices.Equal(got, want) {
		t.Fatalf("commands are %v, want %v", got, want)
	}
	for i, r := range w.replicas() {
		if r.ID != before[i].ID || r.Name == before[i].Name || r.Next != "" {
			t.Errorf("replica %+v became %+v, want the id under a new name", before[i], r)
		}
	}
	if len(w.members()) != 3 {
		t.Errorf("%v serve, want 3", w.members())
	}
	w.wantEvent("instance.replaced", before[0].Name)
}

func TestDecide_CommandThatDoesNotWorkCostsNothingAndCanBeCorrected(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	before := w.replicas()
	w.broken = "typo"
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"typo"} })
	for range 120 {
		w.step(events.HeartbeatInterval)
		if n := len(w.members()); n != 3 {
			t.Fatalf("%d of 3 serve with a command that does not work, want all of the old", n)
		}
	}
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
	if got, want := w.commands(), []string{"sample", "sample", "sample"}; !slices.Equal(got, want) || len(w.members()) != 3 {
		t.Fatalf("after a death commands are %v and %d serve; want %v, and 3", got, len(w.members()), want)
	}

	w.configure("3", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	w.run(10 * time.Second)
	if got, want := w.commands(), []string{"app", "app", "app"}; !slices.Equal(got, want) || len(w.members()) != 3 {
		t.Fatalf("commands are %v, %d serve; want %v, and 3", got, len(w.members()), want)
	}
}

// A replica that dies while its next one starts is followed at once.
func TestDecide_NextOfADeadReplicaTakesItsPlace(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	w.apply(w.p.Decide(w.now))
	w.apply(w.p.Decide(w.now))
	next := w.replicas()[0].Next
	if next == "" {
		t.Fatalf("nothing follows %+v", w.replicas())
	}
	_, st := w.find(w.replicas()[0].Name)
	st.State = events.Dead
	w.step(events.HeartbeatInterval)
	if got := w.replicas()[0]; got.Name != next {
		t.Fatalf("the dead replica became %+v, want %s", got, next)
	}
	w.run(10 * time.Second)
	if got, want := w.commands(), []string{"app", "app"}; !slices.Equal(got, want) || len(w.members()) != 2 {
		t.Fatalf("commands are %v, %v serve", got, w.members())
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
