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
