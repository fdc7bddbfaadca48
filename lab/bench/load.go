package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// crew is clients that are connected.
type crew interface {
	// drive keeps all of them busy until next has no key for them or the time is
	// up. Any failure ends it: a measurement with failures means nothing.
	drive(ctx context.Context, next func() (key int64, ok bool), atMost time.Duration) (load, error)
	close()
}

// worker is one client of a crew of goroutines. One of them uses it.
type worker func(key int64) error

// goroutines is a crew of workers.
type goroutines struct {
	workers []worker
	release func()
}

var _ crew = goroutines{}

// inGoroutines makes what begins workers begin a crew.
func inGoroutines(begin func(ctx context.Context, n int) ([]worker, func(), error)) func(context.Context, int) (crew, error) {
	return func(ctx context.Context, n int) (crew, error) {
		workers, release, err := begin(ctx, n)
		return goroutines{workers, release}, err
	}
}

func (g goroutines) close() { g.release() }

// load is what a crew did.
type load struct {
	ops   int
	took  []time.Duration // of each op, sorted
	spent time.Duration
}

func (l load) perSecond() float64 { return float64(l.ops) / l.spent.Seconds() }

func (l load) percentile(p int) time.Duration {
	if len(l.took) == 0 {
		return 0
	}
	return l.took[min(len(l.took)-1, len(l.took)*p/100)]
}

// drive implements crew.
func (g goroutines) drive(ctx context.Context, next func() (key int64, ok bool), atMost time.Duration) (load, error) {
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
	l := load{spent: time.Since(began), took: slices.Concat(took...)}
	l.ops = len(l.took)
	slices.Sort(l.took)
	return l, errors.Join(append(failed, ctx.Err())...)
}

// What answers have to contain.
const (
	oneAdded = `"1 Data entries added"`
	oneRow   = `"data":[{`
)

// writeBody is one row as the course writes it.
func writeBody(to []byte, key int64) []byte {
	return append(appendRow(append(to, `{"data":[`...), key), "]}"...)
}

func appendRow(to []byte, key int64) []byte {
	to = strconv.AppendInt(append(to, `{"Stud_id":`...), key, 10)
	to = append(append(to, `,"Stud_name":"`...), name(key)...)
	return append(strconv.AppendInt(append(to, `","Stud_marks":`...), key%101, 10), '}')
}

func name(key int64) string { return "Student " + strconv.FormatInt(key, 36) }

func readBody(to []byte, key int64) []byte {
	to = strconv.AppendInt(append(to, `{"Stud_id":{"low":`...), key, 10)
	return append(strconv.AppendInt(append(to, `,"high":`...), key, 10), "}}"...)
}

// spreadKeys hands out keys one after the other, to all shards in turn.
type spreadKeys struct {
	d    database
	next atomic.Int64
}

func (s *spreadKeys) take() (int64, bool) {
	n := s.next.Add(1) - 1
	shards := int64(s.d.shards)
	return n%shards*s.d.size + n/shards, n < s.d.keys()
}
