package replica

import "time"

// pace has a manager pause where it goes in a circle: a step that brought the
// replica no further is begun again no sooner than wait after it was begun last, and
// wait doubles each time. It does not matter which steps the circle has.
type pace struct {
	min, max time.Duration
	wait     time.Duration
	reached  uint64             // the furthest seq of the replica
	begun    map[step]time.Time // since it came that far
}

func newPace(minWait, maxWait time.Duration) *pace {
	return &pace{min: minWait, max: maxWait, wait: minWait, begun: map[step]time.Time{}}
}

// due is when a step of a replica at a seq may be begun; the past: now.
func (p *pace) due(do step, at uint64) time.Time {
	if at > p.reached {
		p.reached, p.wait = at, p.min
		clear(p.begun)
	}
	last, again := p.begun[do]
	if !again {
		return time.Time{}
	}
	return last.Add(p.wait)
}

// begin notes that a step is begun.
func (p *pace) begin(do step, now time.Time) {
	last, again := p.begun[do]
	switch {
	case !again:
	case now.Sub(last) > p.wait+p.max: // it ran for long; the pause does not count
		p.wait = p.min
	default:
		p.wait = min(2*p.wait, p.max)
	}
	p.begun[do] = now
}

// rested notes that wait is over without a step.
func (p *pace) rested() {
	p.wait = min(2*p.wait, p.max)
	clear(p.begun)
}
