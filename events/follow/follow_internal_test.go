package follow

import (
	"testing"
	"time"
)

func TestLag(t *testing.T) {
	start := time.Unix(1000, 0)
	l := lag{patience: time.Second}
	f := func(after time.Duration, behind, want bool) {
		t.Helper()
		if got := l.tooLong(behind, start.Add(after)); got != want {
			t.Fatalf("after %s, behind %v: got %v", after, behind, got)
		}
	}
	f(0, true, false)
	f(time.Second, true, false)
	f(1100*time.Millisecond, true, true)
	f(1200*time.Millisecond, true, false) // it has just been read
	f(2200*time.Millisecond, true, true)
	f(2300*time.Millisecond, false, false)
	f(9*time.Second, true, false)
}
