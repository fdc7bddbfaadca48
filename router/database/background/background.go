// Package background runs what outlives the request that began it, until its
// group ends.
package background

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrStopping is the cause of contexts that are asked of a group that does not run.
var ErrStopping = errors.New("the router is stopping")

// Group runs functions within the context of its Run.
type Group struct {
	mu   sync.Mutex
	ctx  context.Context // of Run; nil: not running
	work sync.WaitGroup
}

// Run takes functions until ctx ends, and returns when all have ended.
// begun is called when functions are taken.
func (g *Group) Run(ctx context.Context, begun func()) {
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	begun()
	<-ctx.Done()
	g.mu.Lock()
	g.ctx = nil
	g.mu.Unlock()
	g.work.Wait()
}

// Go runs fn; false if the group does not run.
func (g *Group) Go(fn func(context.Context)) bool {
	ctx, done := g.Hold()
	if ctx == nil {
		return false
	}
	go func() {
		defer done()
		fn(ctx)
	}()
	return true
}

// Hold keeps Run from returning until done is called. The context is nil if the
// group does not run.
func (g *Group) Hold() (ctx context.Context, done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx == nil {
		return nil, nil
	}
	g.work.Add(1)
	return g.ctx, g.work.Done
}

// WithTimeout is Run's context for at most d. A request's own ends no sooner,
// and costs a goroutine to derive from.
func (g *Group) WithTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	g.mu.Lock()
	ctx := g.ctx
	g.mu.Unlock()
	if ctx == nil {
		ended, cancel := context.WithCancelCause(context.Background())
		cancel(ErrStopping)
		ctx = ended
	}
	return context.WithTimeout(ctx, d)
}
