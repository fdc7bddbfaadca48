package testkit

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Stopwatch measures what a test holds against a promise. A promise is made
// for a machine with a processor to spare, so a second in which some process
// waited for one counts as a third of a second, and on an idle machine the
// watch shows the time of the wall.
type Stopwatch struct {
	begun   time.Time
	starved time.Duration // until then
}

// StartWatch starts one.
func StartWatch() Stopwatch { return Stopwatch{time.Now(), starved()} }

// Elapsed is what the watch shows.
func (s Stopwatch) Elapsed() time.Duration { return discount(time.Since(s.begun), starved()-s.starved) }

// Within calls f again and again until it returns nil, and ends the test with
// its last error once the watch shows more than d. It returns what it showed.
func (s Stopwatch) Within(t testing.TB, d time.Duration, f func() error) time.Duration {
	t.Helper()
	if err := try(func() bool { return s.Elapsed() >= d }, f); err != nil {
		t.Fatalf("not within %s: %v", d, err)
	}
	return s.Elapsed()
}

// discount takes two thirds of the starved time from the wall's.
func discount(wall, starved time.Duration) time.Duration {
	return wall - 2*min(wall, max(0, starved))/3
}

// starved is how long since boot some process has waited for a processor: the
// kernel's pressure stall information, and 0 where it keeps none.
func starved() time.Duration {
	b, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	return stalled(string(b))
}

// stalled reads the total, in microseconds, of the line
// "some avg10=0.00 avg60=5.98 avg300=8.68 total=44998151".
func stalled(pressure string) time.Duration {
	var ten, sixty, threeHundred float64
	var total int64
	if _, err := fmt.Sscanf(pressure, "some avg10=%f avg60=%f avg300=%f total=%d", &ten, &sixty, &threeHundred, &total); err != nil {
		return 0
	}
	return time.Duration(total) * time.Microsecond
}
