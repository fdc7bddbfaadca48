package events_test

import (
	"testing"

	"ringway/events"
)

func TestEntry_News(t *testing.T) {
	at := func(life string, revision uint64) events.Version {
		return events.Version{Incarnation: life, Revision: revision}
	}
	f := func(obeyed, version events.Version, deleted bool, want events.News) {
		t.Helper()
		e := events.Entry{Key: "k", Version: version, Value: []byte("v")}
		if deleted {
			e.Value = nil
		}
		if got := e.News(obeyed); got != want {
			t.Errorf("%s after %s, deleted %v: got %d, want %d", version, obeyed, deleted, got, want)
		}
	}
	none := events.Version{}
	f(none, at("one", 1), false, events.Fresh)
	f(none, at("one", 1), true, events.Stale)
	f(at("one", 5), at("one", 5), false, events.Stale)
	f(at("one", 5), at("one", 4), true, events.Stale)
	f(at("one", 5), at("one", 6), false, events.Fresh)
	f(at("one", 5), at("one", 6), true, events.Gone)
	f(at("one", 5), at("two", 1), false, events.Fresh)
	f(at("one", 5), at("two", 1), true, events.Wiped)
}

func TestAhead(t *testing.T) {
	one := events.Version{Incarnation: "one", Revision: 5}
	f := func(leader, obeyed events.Version, want bool) {
		t.Helper()
		got := events.IsNewer(map[string]events.Version{"web": leader}, func(string) events.Version { return obeyed })
		if got != want {
			t.Errorf("the leader at %s, obeyed %s: got %v", leader, obeyed, got)
		}
	}
	f(one, one, false)
	f(events.Version{}, one, false)
	f(events.Version{Incarnation: "one", Revision: 4}, one, false)
	f(events.Version{Incarnation: "one", Revision: 6}, one, true)
	f(events.Version{Incarnation: "two", Revision: 1}, one, true)
	f(one, events.Version{}, true)
}
