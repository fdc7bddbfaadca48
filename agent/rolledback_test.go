package agent_test

import (
	"fmt"
	"syscall"
	"testing"

	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

// A watch that has fallen silent, or is in a life of the bus that is over.
func TestAgent_ReadsAgainWhatTheLeaderNames(t *testing.T) {
	f := newFixture(t)
	f.assign(life("one", 1), 62, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	next := entry(t, life("two", 1), 3, runtimetest.Sample("S1"), runtimetest.Sample("S3"))
	f.board.slip(next)
	f.lead(life("one", 62))
	f.more(3)
	if got := f.states(); got != "S1=ready S2=ready" {
		t.Fatalf("%s, and nobody told", got)
	}
	testkit.Eventually(t, func() error {
		f.lead(next.Version)
		if got := f.states(); got != "S1=ready S2=ready S3=ready" { // S2 is no order of this life
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

// What was obeyed never was, says the bus: then it is an older copy of itself,
// and what it does not name is no order to kill.
func TestAgent_RefusesWhatHasAnotherPast(t *testing.T) {
	for name, next := range map[string]events.Assignment{
		"the same version": {Decision: events.Decision{Term: life("one", 2), Former: life("one", 61)}},
		"the next one":     {Decision: events.Decision{Term: life("one", 2), Former: life("one", 60)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.assign(life("one", 1), 62, "S1", "S2")
			f.eventually("S1=ready S2=ready")
			next.Host = "host-1"
			e := entry(t, life("one", 2), 62, runtimetest.Sample("S1"))
			if name == "the next one" {
				e.Version.Revision++
			}
			e.Value = encode(t, next)
			f.board.put(e)
			f.detail("the bus went back")
			f.more(3)
			if got := f.states(); got != "S1=ready S2=ready" {
				t.Fatalf("it runs %s", got)
			}
			f.assign(life("two", 1), 64, "S1")
			f.detail("")
			f.more(3)
			if got := f.states(); got != "S1=ready S2=ready" {
				t.Fatalf("in the new life it runs %s", got)
			}
			// Whoever does not want it can end it.
			if err := syscall.Kill(f.last("S2").PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.eventually("S1=ready")
		})
	}
}

// A bucket that went back begins its new life with the values of the copy, which
// a term of the life before had written: the same one, or one that is counted
// as high. They are no order to stop what was assigned after the copy.
func TestAgent_StopsNothingForAValueOfTheLifeBefore(t *testing.T) {
	f := newFixture(t)
	f.assign(life("one", 1), 62, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	put := func(term events.Token, revision uint64, names ...string) {
		t.Helper()
		var specs []events.InstanceSpec
		for _, name := range names {
			specs = append(specs, runtimetest.Sample(name))
		}
		e := entry(t, term, revision, specs...)
		e.Version.Incarnation = "new"
		f.board.put(e)
		testkit.Eventually(t, func() error {
			if all := f.all(); all[len(all)-1].Assigned != e.Version {
				return fmt.Errorf("it applied %s", all[len(all)-1].Assigned)
			}
			return nil
		})
		f.more(2)
	}
	for i, term := range []events.Token{life("one", 1), life("one", 2), life("two", 1)} {
		put(term, uint64(61+i), "S1")
		if got := f.states(); got != "S1=ready S2=ready" {
			t.Fatalf("it runs %s in term %s", got, term)
		}
	}
	put(life("two", 1), 70, "S1", "S2") // a term of the new life names it, and can stop it
	put(life("two", 1), 71, "S1")
	f.eventually("S1=ready")
}

// One that missed some is not of another past.
func TestAgent_AppliesWhatFollowsWhatItMissed(t *testing.T) {
	f := newFixture(t)
	f.assign(life("one", 1), 5, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	e := entry(t, life("one", 2), 9)
	e.Value = encode(t, events.Assignment{Host: "host-1", Instances: []events.InstanceSpec{runtimetest.Sample("S1")}, Decision: events.Decision{Term: life("one", 2), Former: life("one", 5)}})
	f.board.put(e)
	f.eventually("S1=ready")
	e.Version.Revision = 20
	e.Value = encode(t, events.Assignment{Host: "host-1", Decision: events.Decision{Term: life("one", 3), Former: life("one", 17)}})
	f.board.put(e)
	f.eventually("")
}
