package controller_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestController_BringsAServiceUpAndScalesIt(t *testing.T) {
	s := newSite(t)
	s.lead("c1", 3)
	s.host("h1")
	s.router("r1")
	s.serving(3)
	reply, err := s.scale(events.APIAdd, events.ScaleRequest{ID: "q1", N: 2, Names: []string{"S5"}})
	if err != nil || len(reply.Replicas) != 5 || !slices.Contains(reply.Replicas, "S5") {
		t.Fatalf("add: %+v %v", reply, err)
	}
	reply, err = s.scale(events.APIRemove, events.ScaleRequest{ID: "q2", N: 1, Names: []string{"S5"}})
	if err != nil || len(reply.Replicas) != 4 || slices.Contains(reply.Replicas, "S5") {
		t.Fatalf("rm: %+v %v", reply, err)
	}
	_, err = s.scale(events.APIRemove, events.ScaleRequest{ID: "q3", N: 9})
	var statusErr *events.StatusError
	if !errors.As(err, &statusErr) || statusErr.Code != 400 {
		t.Fatalf("rm of too many: %v, want a refusal", err)
	}
	// Everything that happened can be read.
	testkit.Within(t, 5*time.Second, func() error {
		published := map[string]int{}
		for _, e := range s.events() {
			published[e.Entity+"."+e.Verb]++
		}
		if published["controller.elected"] == 0 { // again, if it could not renew its lease for want of a processor
			return fmt.Errorf("nobody was elected: %v", published)
		}
		for kind, want := range map[string]int{"host.joined": 1, "router.joined": 1, "service.created": 1, "service.scaled": 2, "instance.assigned": 5, "instance.ready": 5, "instance.draining": 1, "instance.removed": 1} {
			if published[kind] != want {
				return fmt.Errorf("%s told %d times, want %d: %v", kind, published[kind], want, published)
			}
		}
		return nil
	})
}

func TestController_OneLeadsAndTheNextTakesOver(t *testing.T) {
	s := newSite(t)
	stop := s.lead("c1", 2)
	s.host("h1")
	s.router("r1")
	s.serving(2)
	s.lead("c2", 2)
	first, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	stop()
	testkit.Eventually(t, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		if st.Controller != "c2" || !st.Term.After(first.Term) {
			return fmt.Errorf("led by %s in term %s", st.Controller, st.Term)
		}
		return nil
	})
	s.serving(2)
	second, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	for i := range first.Instances {
		if first.Instances[i].Name != second.Instances[i].Name {
			t.Errorf("instance %s became %s by an election", first.Instances[i].Name, second.Instances[i].Name)
		}
	}
}

func TestController_DeposedLeaderCanChangeNothing(t *testing.T) {
	s := newSite(t)
	stop := s.lead("c1", 2)
	s.host("h1")
	s.serving(2)
	ctx := t.Context()
	b, err := s.conn.Bucket(ctx, events.BucketDesired)
	if err != nil {
		t.Fatal(err)
	}
	before, err := b.Get(ctx, events.ServiceKey("web"))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	s.lead("c2", 2)
	s.serving(2)
	// What c1 would write now, from what it knew.
	if _, err := b.Update(ctx, events.ServiceKey("web"), before.Value, before.Version); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("a write of the former leader: %v, want a conflict", err)
	}
}

func TestController_LostCompareAndSetEndsTheTermAndReadsAgain(t *testing.T) {
	s := newSite(t)
	s.lead("c1", 2)
	s.host("h1")
	s.router("r1")
	s.serving(2)
	first, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	// Somebody else changes the desired state behind the leader's back.
	ctx := t.Context()
	b, err := s.conn.Bucket(ctx, events.BucketDesired)
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Get(ctx, events.ServiceKey("web"))
	if err != nil {
		t.Fatal(err)
	}
	svc, err := events.DecodeService(e.Value)
	if err != nil {
		t.Fatal(err)
	}
	svc.Replicas = append(svc.Replicas, events.Replica{Name: "by-hand", ID: 3})
	svc.Spec.Replicas = 3
	value, _ := json.Marshal(svc)
	if _, err := b.Update(ctx, e.Key, value, e.Version); err != nil {
		t.Fatal(err)
	}
	reply, err := s.scale(events.APIAdd, events.ScaleRequest{ID: "q1", N: 1})
	if err != nil && !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrNoLeader) {
		t.Fatalf("add: %+v %v, want success, nobody or an unknown outcome", reply, err)
	}
	// The same request again, to the next term: done once, on top of the other change.
	testkit.Eventually(t, func() error {
		reply, err = s.scale(events.APIAdd, events.ScaleRequest{ID: "q1", N: 1})
		return err
	})
	if len(reply.Replicas) != 4 || !slices.Contains(reply.Replicas, "by-hand") {
		t.Fatalf("replicas %v, want 4 with by-hand", reply.Replicas)
	}
	if st, err := s.status(); err != nil || !st.Term.After(first.Term) {
		t.Fatalf("term %v (%v) does not follow %v", st.Term, err, first.Term)
	}
}

func TestController_PutsRightWhatIsChangedByHand(t *testing.T) {
	s := newSite(t)
	s.lead("c1", 2)
	s.host("h1")
	s.router("r1")
	s.serving(2)
	ctx := t.Context()
	b, err := s.conn.Bucket(ctx, events.BucketRoutes)
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Get(ctx, events.ServiceKey("web"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, e.Key, e.Version); err != nil {
		t.Fatal(err)
	}
	testkit.Within(t, 10*time.Second, func() error {
		e, err := b.Get(ctx, events.ServiceKey("web"))
		if err != nil {
			return err
		}
		if r, err := events.DecodeRoute(e.Value); err != nil || len(r.Members) != 2 {
			return fmt.Errorf("%d members, %w", len(r.Members), err)
		}
		return nil
	})
}

func TestController_PublishesWhatItsPredecessorCouldNot(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	// A leader stored a decision and died before it published the event.
	b, err := s.conn.Bucket(ctx, events.BucketDesired)
	if err != nil {
		t.Fatal(err)
	}
	spec := events.DefaultServiceSpec()
	spec.Replicas = 1
	cause := events.NewEvent("controller/c0", events.EntityService, events.VerbScaled, "web", time.Now(), map[string]int{"to": 1})
	value, _ := json.Marshal(events.Service{Spec: spec, ConfigHash: "1", Replicas: []events.Replica{{Name: "S1", ID: 1}}, Decision: events.Decision{Term: events.Token{Incarnation: "x", Revision: 1}, Cause: []events.Event{cause}}})
	if _, err := b.Create(ctx, events.ServiceKey("web"), value); err != nil {
		t.Fatal(err)
	}
	stop := s.lead("c1", 1)
	count := func() (n int) {
		for _, e := range s.events() {
			if e.ID == cause.ID {
				n++
			}
		}
		return n
	}
	testkit.Within(t, 10*time.Second, func() error {
		if n := count(); n != 1 {
			return fmt.Errorf("told %d times", n)
		}
		return nil
	})
	stop()
	s.lead("c2", 1)
	s.host("h1")
	s.serving(1)
	if n := count(); n != 1 {
		t.Fatalf("told %d times after another election, want once", n)
	}
}

func TestController_LivesThroughABusThatIsRestartedOrWiped(t *testing.T) {
	t.Parallel()
	f := func(wiped bool) {
		t.Run(fmt.Sprintf("wiped=%v", wiped), func(t *testing.T) {
			s := newSite(t)
			s.lead("c1", 3)
			s.host("h1")
			s.router("r1")
			s.serving(3)
			before, err := s.status()
			if err != nil {
				t.Fatal(err)
			}
			s.restart(wiped)
			testkit.Within(t, 30*time.Second, func() error {
				after, err := s.status()
				if err != nil {
					return err
				}
				if len(after.Services) != 1 || after.Services[0].Serving != 3 {
					return fmt.Errorf("services %+v", after.Services)
				}
				for i := range before.Instances {
					if len(after.Instances) != 3 || before.Instances[i].Name != after.Instances[i].Name {
						return fmt.Errorf("instances went from %+v to %+v", before.Instances, after.Instances)
					}
				}
				return nil
			})
			// The term that knew the former bus may end in the middle of this; the
			// same request to the next one is done once.
			var reply events.ScaleReply
			testkit.Within(t, 30*time.Second, func() (err error) {
				reply, err = s.scale(events.APIAdd, events.ScaleRequest{ID: "q9", N: 1})
				return err
			})
			for _, i := range before.Instances {
				if len(reply.Replicas) != 4 || !slices.Contains(reply.Replicas, i.Name) {
					t.Errorf("replicas %v after adding one to %s", reply.Replicas, i.Name)
				}
			}
		})
	}
	f(false)
	f(true)
}

// What nobody can read must not end every leader's term: the last good value
// counts, and where there is none what runs does.
func TestController_MendsStoredValuesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := func(bucket, key, value string, times int) {
		t.Run(fmt.Sprintf("%s-%d", bucket, times), func(t *testing.T) {
			s := newSite(t)
			s.host("h1")
			s.router("r1")
			stop := s.lead("c1", 3)
			s.serving(3)
			before, err := s.status()
			if err != nil {
				t.Fatal(err)
			}
			stop()
			b, err := s.conn.Bucket(t.Context(), bucket)
			if err != nil {
				t.Fatal(err)
			}
			for range times {
				e, err := b.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Update(t.Context(), key, []byte(value), e.Version); err != nil {
					t.Fatal(err)
				}
			}
			s.lead("c2", 3)
			s.serving(3)
			if _, err := s.scale(events.APIAdd, events.ScaleRequest{ID: "1", N: 1}); err != nil {
				t.Fatal(err)
			}
			after, err := s.status()
			if err != nil || after.Services[0].Serving != 4 {
				t.Fatalf("%+v %v", after.Services, err)
			}
			for _, old := range before.Instances {
				if !slices.ContainsFunc(after.Instances, func(i events.InstanceReport) bool { return i.Name == old.Name }) {
					t.Errorf("%s did not live through it", old.Name)
				}
			}
		})
	}
	for _, times := range []int{1, 8} { // as many as are kept
		f(events.BucketDesired, "service.web", "{", times)
		f(events.BucketRoutes, "service.web", `{"service":"other"}`, times)
		f(events.BucketAssign, "h1", `{"host":"../h1"}`, times)
	}
}
