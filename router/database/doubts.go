package database

import (
	"sync"
	"time"
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

// mostDoubts bounds what is remembered.
const mostDoubts = 4096

// since takes a question at now, and returns when the first one was.
func (d *doubts) since(batch string, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one := d.asked[batch]; one != nil {
		one.last = now
		return one.first
	}
	if len(d.asked) >= mostDoubts {
		d.forgetOne()
	}
	d.asked[batch] = &doubt{first: now, last: now}
	return now
}

// forgetOne forgets what was not asked about for the longest time.
func (d *doubts) forgetOne() {
	longest := ""
	for batch, one := range d.asked {
		if longest == "" || one.last.Before(d.asked[longest].last) {
			longest = batch
		}
	}
	delete(d.asked, longest)
}
