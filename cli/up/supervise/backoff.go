package supervise

import (
	"time"
)

// Backoff is how long a child that died stays down.
type Backoff struct {
	First   time.Duration // wait before the second restart; the first is immediate
	Max     time.Duration // longest wait
	Healthy time.Duration // a life of this length forgets the deaths before it
}

// DefaultBackoff brings a killed role back at once, and keeps one that cannot
// start from eating a core.
func DefaultBackoff() Backoff {
	return Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second, Healthy: 10 * time.Second}
}

// Wait is the wait before a restart after so many failures in a row before
// this one.
func (b Backoff) Wait(fails int) time.Duration {
	if fails == 0 {
		return 0
	}
	wait := b.First
	for ; fails > 1 && wait < b.Max; fails-- {
		wait *= 2
	}
	return min(wait, b.Max)
}
