package follow_test

import (
	"testing"

	"ringway/events"
	"ringway/events/follow"
)

func TestIsNewer(t *testing.T) {
	one := events.Version{Incarnation: "one", Revision: 5}
	f := func(leader, obeyed events.Version, want bool) {
		t.Helper()
		got := follow.IsNewer(map[string]events.Version{"web": leader}, func(string) events.Version { return obeyed })
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
