package link

import "testing"

func TestAtLeast(t *testing.T) {
	f := func(version string, want bool) {
		t.Helper()
		if got := atLeast(version, "2.15.0"); got != want {
			t.Errorf("%q: got %v", version, got)
		}
	}
	f("2.15.0", true)
	f("2.15.2", true)
	f("3.0.0", true)
	f("2.14.9", false)
	f("1.99.9", false)
	f("2.16.0-RC.1", true)
	f("", true)
}

func TestReconnectDelay(t *testing.T) {
	for attempt := range 100 {
		if d := reconnectDelay(attempt); d < minReconnect/2 || d > maxReconnect {
			t.Fatalf("attempt %d waits %s", attempt, d)
		}
	}
}
