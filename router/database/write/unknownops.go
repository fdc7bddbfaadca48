package write

import (
	"sync"
	"time"
)

// unknownOps remembers since when this router has been asked about batches of
// others that no replica knows. Their writers may be sending them still, but
// for less than shardlog.LogDedup; only after that does a barrier show that they
// are in no log. The time is taken here because clocks of hosts may differ.
type unknownOps struct {
	mu  sync.Mutex
	ops map[string]*unknownOp // by the batch's id, which is unique
}

type unknownOp struct{ first, last time.Time }

// maxUnknownOps bounds what is remembered.
const maxUnknownOps = 4096

// firstAsked notes a question at now, and returns when the first one was.
func (d *unknownOps) firstAsked(batch string, now time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one := d.ops[batch]; one != nil {
		one.last = now
		return one.first
	}
	if len(d.ops) >= maxUnknownOps {
		d.forgetOne()
	}
	d.ops[batch] = &unknownOp{first: now, last: now}
	return now
}

// forgetOne forgets the op whose last question is the oldest.
func (d *unknownOps) forgetOne() {
	longest := ""
	for batch, one := range d.ops {
		if longest == "" || one.last.Before(d.ops[longest].last) {
			longest = batch
		}
	}
	delete(d.ops, longest)
}
