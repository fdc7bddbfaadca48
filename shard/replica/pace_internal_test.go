package replica

import (
	"testing"
	"time"
)

// Two steps that lead each other nowhere keep the longest pause once they have come
// to it, however late each is begun; one that ran for long is begun again soon.
func TestPace_ACircleStaysSlow(t *testing.T) {
	const minWait, maxWait = 50 * time.Millisecond, 200 * time.Millisecond
	for _, late := range []time.Duration{0, time.Microsecond, 20 * time.Millisecond, 150 * time.Millisecond} {
		p, now := newPace(minWait, maxWait), time.Unix(1000, 0)
		last := map[step]time.Time{}
		for i := range 40 {
			do := []step{stepApply, stepCreate}[i%2]
			if due := p.due(do, 7); due.After(now) {
				now = due
			}
			now = now.Add(late)
			if gap := now.Sub(last[do]); i > 8 && gap < maxWait {
				t.Errorf("begun %s late: step %d comes %s after it was begun before", late, i, gap)
			}
			p.begin(do, now)
			last[do] = now
		}
		now = now.Add(time.Minute)
		p.begin(stepApply, now)
		if pause := p.due(stepApply, 7).Sub(now); pause != minWait {
			t.Errorf("after a long run it pauses %s", pause)
		}
	}
}
