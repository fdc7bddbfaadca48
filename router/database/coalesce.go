package database

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"ringway/events"
)

// coalescer shares questions to one server, for rows of all that it keeps.
// While one is unanswered, what comes waits and makes the next. One that takes
// longer than cfg.Stagger holds nobody up, until cfg.MaxInFlight are unanswered.
type coalescer struct {
	mu       sync.Mutex
	inFlight int
	lastSent time.Time
	waiting  []*ask
}

// ask is a read of some keys of one replica.
type ask struct {
	shard   *shard
	replica *replica
	keys    []int64
	minSeq  uint64
	result  chan<- keyResult // buffered for all that are sent
}

type keyResult struct {
	rows [][]byte // those that are there, in the order of keys
	err  error
}

var (
	errNotReady = errors.New("no replica is ready")
	errStopping = errors.New("the router is stopping")
)

// get reads rows by key, as clients see them, from the ring's choice among the
// replicas of a shard. Where that fails, or takes longer than cfg.Hedge, the
// next is asked too, and the first answer counts.
func (d *Database) get(until time.Time, s *shard, keys []int64, minSeq uint64) ([][]byte, error) {
	order := s.choices(time.Now())
	answers := make(chan keyResult, len(order))
	asked, open, failed := 0, 0, errNotReady
	ask := func() {
		if asked < len(order) {
			d.enqueue(&ask{shard: s, replica: order[asked], keys: keys, minSeq: minSeq, result: answers})
			asked, open = asked+1, open+1
		}
	}
	late := d.late.Get().(*time.Timer)
	late.Reset(d.cfg.Hedge)
	defer func() {
		late.Stop()
		d.late.Put(late)
	}()
	for ask(); open > 0; {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.rows, nil
			}
			open, failed = open-1, a.err
			d.metrics.failed.WithLabelValues(s.log.Table).Inc()
			ask()
		case now := <-late.C:
			if now.After(until) {
				return nil, fmt.Errorf("shard %s: no answer in time", s.ID)
			}
			late.Reset(d.cfg.Hedge)
			if asked < len(order) {
				order[asked-1].failed(d.cfg.Avoid, now)
				d.metrics.hedged.Inc()
			}
			ask()
		}
	}
	return nil, fmt.Errorf("shard %s: %w", s.ID, failed)
}

// enqueue sends a, alone or together with others.
func (d *Database) enqueue(a *ask) {
	d.metrics.mayWait(a.replica, a.minSeq)
	p := a.replica.peer
	g := &p.gets[0]
	if a.minSeq > 0 {
		g = &p.gets[1] // others need not wait for this minimum seq
	}
	g.mu.Lock()
	g.waiting = append(g.waiting, a)
	sends := g.inFlight == 0 || g.inFlight < d.cfg.MaxInFlight && time.Since(g.lastSent) > d.cfg.Stagger
	if sends {
		g.inFlight++
	}
	g.mu.Unlock()
	if !sends {
		d.metrics.shared.Inc()
		return
	}
	if !d.start(func(ctx context.Context) { d.send(ctx, p, g) }) {
		failAll(g.abort(), errStopping)
	}
}

// send sends what waits until nothing does. When a request fails, all who
// wait go elsewhere.
func (d *Database) send(ctx context.Context, p *peer, g *coalescer) {
	for {
		runtime.Gosched() // those join who are about to: a question costs as much as many rows
		batch := g.take()
		if batch == nil {
			return
		}
		err := d.sendBatch(ctx, p, batch)
		if err == nil {
			continue
		}
		batch = append(batch, g.abort()...)
		now := time.Now()
		for _, a := range batch {
			a.replica.failed(d.cfg.Avoid, now)
		}
		failAll(batch, err)
		return
	}
}

func failAll(batch []*ask, err error) {
	for _, a := range batch {
		a.result <- keyResult{err: err}
	}
}

// take is as much of what waits as one question may be for. Nil ends the sender.
func (g *coalescer) take() []*ask {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, keys := 0, 0
	for n < len(g.waiting) && n < events.MaxGetParts && (n == 0 || keys+len(g.waiting[n].keys) <= events.MaxGetKeys) {
		keys += len(g.waiting[n].keys)
		n++
	}
	if n == 0 {
		g.inFlight--
		return nil
	}
	batch := g.waiting[:n:n]
	g.waiting, g.lastSent = g.waiting[n:], time.Now()
	return batch
}

// abort ends a sender and empties the queue.
func (g *coalescer) abort() []*ask {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	waiting := g.waiting
	g.waiting = nil
	return waiting
}
