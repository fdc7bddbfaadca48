package database

import (
	"sync"
	"time"

	"ringway/events"
)

// doubts remembers since when this router has been asked about batches of
// others that no replica knows. Their writers may be sending them still, but
// for less than events.LogDedup; only after that does a barrier show that they
// are in no log. The time is taken here because clocks of hosts may differ.
type doubts struct {
	mu    sync.Mutex
	asked map[string]*doubt // by the batch's id, which is unique
}

type doubt struct{ first, last time.Time }

// mostDoubts bounds what is remembered; about more a router is never sure.
const mostDoubts = 4096

// since takes a question at now, and returns when the first one was. One that
// was not repeated within events.ResultsKept is forgotten.
func (d *doubts) since(batch string, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one := d.asked[batch]; one != nil {
		one.last = now
		return one.first
	}
	if len(d.asked) >= mostDoubts {
		for other, one := range d.asked {
			if now.Sub(one.last) > events.ResultsKept {
				delete(d.asked, other)
			}
		}
	}
	if len(d.asked) < mostDoubts {
		d.asked[batch] = &doubt{first: now, last: now}
	}
	return now
}
