package shard

import (
	"context"
	"sync"
	"sync/atomic"

	"ringway/events"
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

// waiting holds what is read and not applied yet, up to so many bytes.
type waiting struct {
	budget *Budget
	mu     sync.Mutex
	max    int
	bytes  int
	queue  []sized
	more   bool // what was put last is not the end of its lot
	full   bool // somebody waits for room
	closed bool
	change chan struct{} // closed at each change
}

type sized struct {
	events.LogEntry
	size int // of its message
}

func newWaiting(maxBytes int, budget *Budget) *waiting {
	return &waiting{budget: budget, max: maxBytes, change: make(chan struct{})}
}

func (w *waiting) changed() {
	close(w.change)
	w.change = make(chan struct{})
}

// put waits for room. One entry always fits. More of its lot may follow.
func (w *waiting) put(ctx context.Context, e events.LogEntry, size int, more bool) error {
	for {
		w.mu.Lock()
		if w.closed || len(w.queue) == 0 || w.bytes+size <= w.max && w.budget.fits(size) {
			break
		}
		if !w.full {
			w.full = true
			w.changed()
		}
		change := w.change
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
	defer w.mu.Unlock()
	if w.closed {
		return context.Canceled
	}
	w.more, w.full = more, false
	w.queue, w.bytes = append(w.queue, sized{e, size}), w.bytes+size
	w.budget.add(size)
	if !more {
		w.changed()
	}
	return nil
}

// take waits for a whole lot, or as much of it as there is room for, and
// returns all there is, at most n; nil after close, once nothing is left.
func (w *waiting) take(n int) []events.LogEntry {
	for {
		w.mu.Lock()
		if len(w.queue) > 0 && (!w.more || w.full || w.closed) {
			defer w.mu.Unlock()
			return w.cut(n)
		}
		if w.closed {
			w.mu.Unlock()
			return nil
		}
		change := w.change
		w.mu.Unlock()
		<-change
	}
}

// drop gives up what was not taken.
func (w *waiting) drop() {
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut(len(w.queue))
}

func (w *waiting) cut(n int) []events.LogEntry {
	n = min(n, len(w.queue))
	if n == 0 {
		return nil
	}
	head := make([]events.LogEntry, n)
	for i, e := range w.queue[:n] {
		head[i] = e.LogEntry
		w.bytes -= e.size
		w.budget.add(-e.size)
	}
	clear(w.queue[:n]) // what is taken must not be held by what waits
	if w.queue = w.queue[n:]; len(w.queue) == 0 {
		w.queue = nil
	}
	w.changed()
	return head
}

func (w *waiting) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		w.changed()
	}
}
