package controller

import (
	"testing"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// rewounds are the claims among effects that the bus went back.
func rewounds(effects []cluster.Effect) (n int) {
	for _, e := range effects {
		if _, ok := e.(cluster.RolledBack); ok {
			n++
		}
	}
	return n
}

// Somebody applies what the key never had: beyond its version, or between two of
// its versions that follow each other.
func TestObserve_DetectsVersionsThatNobodyCanHaveApplied(t *testing.T) {
	w := started(t, webConfig(2), "h1", "h2")
	at := w.s.Assigned["h1"].Version
	term := w.s.Term
	f := func(assigned events.Version, token events.Token, want int) {
		t.Helper()
		b := w.hostHeartbeat("h1")
		b.Assigned, b.Token = assigned, token
		if got := rewounds(w.s.ObserveHost(b, w.now)); got != want {
			t.Errorf("a host that obeys %s of term %s is doubted %d times, want %d", assigned, token, got, want)
		}
	}
	moved := func(v events.Version, by int) events.Version {
		v.Revision = uint64(int(v.Revision) + by)
		return v
	}
	w.s.Assigned["h1"].Former = at.Revision - 3 // as after an election
	f(at, term, 0)
	f(moved(at, 1), term, 1)
	f(moved(at, 58), moved(term, 3), 1)
	f(moved(at, -1), term, 1)
	f(moved(at, -3), term, 0)              // it is late
	f(moved(at, -4), moved(term, -1), 0)   // very
	f(at, moved(term, 1), 1)               // the same version of another leader
	f(moved(at, -3), moved(term, 1), 1)    // later than this term
	f(events.Version{}, events.Token{}, 0) // it applies nothing yet
	f(events.Version{Incarnation: "before", Revision: 99}, events.Token{Incarnation: "before", Revision: 99}, 0)

	epoch := w.s.Routes["web"].Version
	g := func(v events.Epoch, want int) {
		t.Helper()
		b := events.RouterHeartbeat{Router: "r1", Epochs: map[string]events.Epoch{"web": v, "unknown": moved(v, 9)}, Sent: w.now}
		if got := rewounds(w.s.ObserveRouter(b, w.now)); got != want {
			t.Errorf("a router that obeys %s is doubted %d times, want %d", v, got, want)
		}
	}
	g(epoch, 0)
	g(moved(epoch, -1), 0)
	g(moved(epoch, 1), 1)
	g(events.Epoch{Incarnation: "before", Revision: 99}, 0)
	g(events.Epoch{}, 0)
}

// What proves it is the value of before, with the event.
func TestObserve_ProofChangesNothing(t *testing.T) {
	w := started(t, webConfig(2), "h1")
	b := w.hostHeartbeat("h1")
	b.Assigned.Revision += 60
	have := w.s.Assigned["h1"].Value
	for _, e := range w.s.ObserveHost(b, w.now) {
		next := e.(cluster.RolledBack).Proof.(cluster.PutAssignment).Value
		if next.Host != "h1" || len(next.Instances) != len(have.Instances) || next.Instances[0].Name != have.Instances[0].Name {
			t.Errorf("%+v is stored as %+v", have, next)
		}
		w.apply([]cluster.Effect{e.(cluster.RolledBack).Proof})
	}
	w.wantEvent("bus.rewound", events.BucketAssign)
}

// Half an hour of scaling, deaths, silence and lag in which the bus never went back.
func TestObserve_DetectsNoRollbackWhileTheBusGoesOn(t *testing.T) {
	w := started(t, webConfig(4), "h1", "h2", "h3")
	var late []events.HostHeartbeat
	var lateRouter []events.RouterHeartbeat
	for i := range 2000 {
		switch i % 9 {
		case 2:
			w.scale(i%2 == 0, 1)
		case 4:
			w.silent["h2"] = i%2 == 0
		}
		for _, h := range []string{"h1", "h2", "h3"} {
			b := w.hostHeartbeat(h)
			b.Token = w.s.Term
			late = append(late, b)
		}
		lateRouter = append(lateRouter, events.RouterHeartbeat{Router: "r1", Epochs: map[string]events.Epoch{"web": w.s.Routes["web"].Version}})
		w.run(time.Second)
		for range 3 { // heartbeats come late, as old as they like
			b := late[w.s.Rng.IntN(len(late))]
			b.Sent = w.now
			r := lateRouter[w.s.Rng.IntN(len(lateRouter))]
			if n := rewounds(w.s.ObserveHost(b, w.now)) + rewounds(w.s.ObserveRouter(r, w.now)); n > 0 {
				t.Fatalf("after %d s: %+v or %+v is doubted", i, b, r)
			}
		}
	}
}
