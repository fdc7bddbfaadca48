// Package notify wakes goroutines that wait for a change.
package notify

import (
	"context"
	"sync"
)

// Signal makes the one loop that receives from it run once more, however often it
// was notified in between.
type Signal chan struct{}

// NewSignal is a signal that was not notified yet.
func NewSignal() Signal { return make(Signal, 1) }

// Notify never blocks.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Cond is a condition of what a mutex guards, like sync.Cond, but waiting for it
// ends with a context. The zero Cond is ready for use.
type Cond struct {
	changed chan struct{} // closed at the next change; nil: nobody waits
}

// Broadcast wakes all that wait. The caller holds the mutex.
func (c *Cond) Broadcast() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Changed is closed at the next change. The caller holds the mutex.
func (c *Cond) Changed() <-chan struct{} {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// Await returns when met, which it calls with mu held, reports true, or else the
// cause of ctx's end.
func (c *Cond) Await(ctx context.Context, mu *sync.Mutex, met func() bool) error {
	for {
		mu.Lock()
		if met() {
			mu.Unlock()
			return nil
		}
		changed := c.Changed()
		mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}
