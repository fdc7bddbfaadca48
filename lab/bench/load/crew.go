// Package load is the load generator: clients that keep a server busy, and what
// they did.
package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Crew is clients that are connected.
type Crew interface {
	// Drive keeps all of them busy until next has no key for them or the time is
	// up. Any failure ends it: a measurement with failures means nothing.
	Drive(ctx context.Context, next func() (key int64, ok bool), atMost time.Duration) (Load, error)
	Close()
}

// Worker is one client of a crew of goroutines. One of them uses it.
type Worker func(key int64) error

// goroutines is a crew of workers.
type goroutines struct {
	workers []Worker
	release func()
}

var _ Crew = goroutines{}

// InGoroutines makes what begins workers begin a crew.
func InGoroutines(begin func(ctx context.Context, n int) ([]Worker, func(), error)) func(context.Context, int) (Crew, error) {
	return func(ctx context.Context, n int) (Crew, error) {
		workers, release, err := begin(ctx, n)
		return goroutines{workers, release}, err
	}
}

func (g goroutines) Close() { g.release() }

// Load is what a crew did.
type Load struct {
	Ops   int
	Took  []time.Duration // of each op, sorted
	Spent time.Duration
}

func (l Load) PerSecond() float64 { return float64(l.Ops) / l.Spent.Seconds() }

func (l Load) Percentile(p int) time.Duration {
	if len(l.Took) == 0 {
		return 0
	}
	return l.Took[min(len(l.Took)-1, len(l.Took)*p/100)]
}

// Drive implements crew.
func (g goroutines) Drive(ctx context.Context, next func() (key int64, ok bool), atMost time.Duration) (Load, error) {
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	took := make([][]time.Duration, len(g.workers))
	failed := make([]error, len(g.workers))
	var all sync.WaitGroup
	began := time.Now()
	for i, do := range g.workers {
		all.Go(func() {
			mine := make([]time.Duration, 0, 1<<14)
			defer func() { took[i] = mine }()
			for at := time.Now(); !stop.Load() && at.Sub(began) < atMost; {
				key, ok := next()
				if !ok {
					return
				}
				if failed[i] = do(key); failed[i] != nil {
					stop.Store(true)
					return
				}
				now := time.Now()
				mine = append(mine, now.Sub(at))
				at = now
			}
		})
	}
	all.Wait()
	l := Load{Spent: time.Since(began), Took: slices.Concat(took...)}
	l.Ops = len(l.Took)
	slices.Sort(l.Took)
	return l, errors.Join(append(failed, ctx.Err())...)
}
