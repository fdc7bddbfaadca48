package apply

import (
	"context"
	"sync"
	"sync/atomic"

	"ringway/events/shardlog"
	"ringway/internal/notify"
)

// Budget bounds what many appliers have read and not applied yet. Beyond it
// each still has one entry, so that all go on.
type Budget struct {
	Bytes int64
	used  atomic.Int64
}

func (b *Budget) fits(size int) bool { return b == nil || b.used.Load()+int64(size) <= b.Bytes }

func (b *Budget) add(size int) {
	if b != nil {
		b.used.Add(int64(size))
	}
}

// readAhead is a queue of what is read and not applied yet, up to so many bytes.
type readAhead struct {
	budget *Budget
	mu     sync.Mutex
	max    int
	bytes  int
	queue  []sized
	more   bool // the last entry is not the end of its fetch batch
	full   bool // put waits for space
	closed bool
	change notify.Cond
}

type sized struct {
	shardlog.Entry
	size int // of its message
}

func newReadAhead(maxBytes int, budget *Budget) *readAhead {
	return &readAhead{budget: budget, max: maxBytes}
}

// put waits for space. One entry always fits. More of its fetch batch may follow.
func (q *readAhead) put(ctx context.Context, e shardlog.Entry, size int, more bool) error {
	for {
		q.mu.Lock()
		if q.closed || len(q.queue) == 0 || q.bytes+size <= q.max && q.budget.fits(size) {
			break
		}
		if !q.full {
			q.full = true
			q.change.Broadcast()
		}
		change := q.change.Changed()
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
	defer q.mu.Unlock()
	if q.closed {
		return context.Canceled
	}
	q.more, q.full = more, false
	q.queue, q.bytes = append(q.queue, sized{e, size}), q.bytes+size
	q.budget.add(size)
	if !more {
		q.change.Broadcast()
	}
	return nil
}

// take waits for a whole fetch batch, or as much of it as there is space for, and
// returns all there is, at most n; nil after close, once nothing is left.
func (q *readAhead) take(n int) []shardlog.Entry {
	for {
		q.mu.Lock()
		if len(q.queue) > 0 && (!q.more || q.full || q.closed) {
			defer q.mu.Unlock()
			return q.cut(n)
		}
		if q.closed {
			q.mu.Unlock()
			return nil
		}
		change := q.change.Changed()
		q.mu.Unlock()
		<-change
	}
}

// drop closes the queue and discards what was not taken.
func (q *readAhead) drop() {
	q.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cut(len(q.queue))
}

func (q *readAhead) cut(n int) []shardlog.Entry {
	n = min(n, len(q.queue))
	if n == 0 {
		return nil
	}
	head := make([]shardlog.Entry, n)
	for i, e := range q.queue[:n] {
		head[i] = e.Entry
		q.bytes -= e.size
		q.budget.add(-e.size)
	}
	clear(q.queue[:n]) // what is taken must not be held by what waits
	if q.queue = q.queue[n:]; len(q.queue) == 0 {
		q.queue = nil
	}
	q.change.Broadcast()
	return head
}

func (q *readAhead) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.change.Broadcast()
	}
}
