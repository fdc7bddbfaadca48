package apply

import (
	"time"

	"ringway/events/shardlog"
)

// recentKept bounds what an applier remembers to publish again.
const recentKept = 256

// publishedResults are the results of a batch, and the writer that they are for.
type publishedResults struct {
	at      time.Time
	writer  string
	results shardlog.Results
}

// recent is the last batches of an applier, a ring.
type recent struct {
	all  []publishedResults
	next int
}

// add leaves out what is large: its writer asks.
func (r *recent) add(t publishedResults) {
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
func (r *recent) since(from time.Time) []publishedResults {
	var found []publishedResults
	for i := range r.all {
		if t := r.all[(r.next+i)%len(r.all)]; !t.at.Before(from) {
			found = append(found, t)
		}
	}
	return found
}
