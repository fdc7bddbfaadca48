package shard

import (
	"time"

	"ringway/events"
)

// recentKept bounds what an applier remembers to tell again.
const recentKept = 256

// told is what became of a batch, and who wants to know.
type told struct {
	at      time.Time
	writer  string
	results events.Results
}

// recent is the last batches of an applier, a ring.
type recent struct {
	all  []told
	next int
}

// add leaves out what is large: its writer asks.
func (r *recent) add(t told) {
	if len(t.results.Notable) > 16 {
		return
	}
	if len(r.all) < recentKept {
		r.all = append(r.all, t)
		return
	}
	r.all[r.next] = t
	r.next = (r.next + 1) % recentKept
}

// since lists what is not older than from, oldest first.
func (r *recent) since(from time.Time) []told {
	var found []told
	for i := range r.all {
		if t := r.all[(r.next+i)%len(r.all)]; !t.at.Before(from) {
			found = append(found, t)
		}
	}
	return found
}
