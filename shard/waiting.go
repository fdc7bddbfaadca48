package shard

import (
	"context"
	"sync"

	"ringway/events"
)

// waiting holds what is read and not applied yet, up to so many bytes.
type waiting struct {
	mu     sync.Mutex
	max    int
	bytes  int
	sizes  []int
	queue  []events.LogEntry
	closed bool
	change chan struct{} // closed at each change
}

func newWaiting(maxBytes int) *waiting { return &waiting{max: maxBytes, change: make(chan struct{})} }

func (w *waiting) changed() {
	close(w.change)
	w.change = make(chan struct{})
}

// put waits for room. One entry always fits.
func (w *waiting) put(ctx context.Context, e events.LogEntry, size int) error {
	for {
		w.mu.Lock()
		if w.closed || len(w.queue) == 0 || w.bytes+size <= w.max {
			break
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
	w.queue, w.sizes, w.bytes = append(w.queue, e), append(w.sizes, size), w.bytes+size
	w.changed()
	return nil
}

// take waits for something and returns all of it, at most n; nil after close,
// once nothing is left.
func (w *waiting) take(n int) []events.LogEntry {
	for {
		w.mu.Lock()
		if len(w.queue) > 0 {
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

// poll is take without waiting.
func (w *waiting) poll(n int) []events.LogEntry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut(n)
}

func (w *waiting) cut(n int) []events.LogEntry {
	n = min(n, len(w.queue))
	if n == 0 {
		return nil
	}
	head := append([]events.LogEntry(nil), w.queue[:n]...)
	for _, size := range w.sizes[:n] {
		w.bytes -= size
	}
	w.queue, w.sizes = w.queue[n:], w.sizes[n:]
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
