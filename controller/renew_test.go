package controller

import (
	"slices"
	"testing"
	"time"

	"ringway/events"
)

// configure starts the leader's next term with another configuration.
func (w *sim) configure(digest string, change func(*events.ServiceSpec)) {
	w.s.cfg.Services = []Wish{{Name: "web", Digest: digest, Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) {
		change(&base)
		return base, base.Validate()
	}}}
}

// commands lists what is assigned, by replica.
func (w *sim) commands() (out []string) {
	for _, r := range w.replicas() {
		at, ok := w.s.placement(r.Name)
		if !ok {
			out = append(out, "nothing")
			continue
		}
		for _, i := range w.s.assigned[at].value.Instances {
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
		w.step(events.BeatEvery)
		if n := len(w.members()); n < 2 {
			t.Fatalf("%d of 3 serve during the change, want at least 2", n)
		}
	}
	if got, want := w.commands(), []string{"app", "app", "app"}; !slices.Equal(got, want) {
		t.Fatalf("commands are %v, want %v", got, want)
	}
	for i, r := range w.replicas() {
		if r.ID != before[i].ID || r.Name == before[i].Name {
			t.Errorf("replica %+v became %+v, want the id under a new name", before[i], r)
		}
	}
	if len(w.members()) != 3 {
		t.Errorf("%v serve, want 3", w.members())
	}
	w.wantTold("instance.replaced", before[0].Name)
}

func TestDecide_CommandThatDoesNotWorkCostsOneReplicaAndCanBeCorrected(t *testing.T) {
	w := started(t, webConfig(3), "h1", "h2")
	w.broken = "typo"
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"typo"} })
	w.run(20 * time.Second)
	if len(w.members()) != 2 {
		t.Fatalf("%v serve with a command that does not work, want 2 of the old", w.members())
	}
	w.configure("3", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	w.run(10 * time.Second)
	if got, want := w.commands(), []string{"app", "app", "app"}; !slices.Equal(got, want) || len(w.members()) != 3 {
		t.Fatalf("commands are %v, %d serve; want %v, and 3", got, len(w.members()), want)
	}
}

func TestDecide_CommandThatNeverWorkedIsReplacedEverywhereAtOnce(t *testing.T) {
	w := newSim(t, webConfig(3, func(s *events.ServiceSpec) { s.Command = []string{"typo"} }), "h1")
	w.broken = "typo"
	w.run(3 * time.Second)
	w.configure("2", func(s *events.ServiceSpec) { s.Command = []string{"app"} })
	w.run(3 * events.BeatEvery)
	if len(w.members()) != 3 {
		t.Fatalf("%v serve after the correction (%v), want 3", w.members(), w.commands())
	}
}

func TestDecide_ConfigurationThatOnlyRoutersObeyRenewsNothing(t *testing.T) {
	w := started(t, webConfig(3), "h1")
	before := w.replicas()
	w.configure("2", func(s *events.ServiceSpec) { s.LoadFactor, s.Drain, s.Env = 2, 0, map[string]string{} })
	w.run(3 * time.Second)
	if !slices.Equal(before, w.replicas()) {
		t.Fatalf("replicas went from %v to %v", before, w.replicas())
	}
}
