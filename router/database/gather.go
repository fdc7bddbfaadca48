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

// gatherer shares questions to one server, for rows of all that it keeps.
// While one is unanswered, what comes waits and makes the next. One that takes
// longer than cfg.Stagger holds nobody up, until cfg.Flying are unanswered.
type gatherer struct {
	mu      sync.Mutex
	flying  int
	left    time.Time // when the last one did
	waiting []*ask
}

// ask is a read of some keys of one replica.
type ask struct {
	shard   *shard
	replica *replica
	keys    []int64
	floor   uint64
	told    chan<- told // has room
}

type told struct {
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
func (d *Database) get(until time.Time, s *shard, keys []int64, floor uint64) ([][]byte, error) {
	order := s.choices(time.Now())
	answers := make(chan told, len(order))
	asked, open, failed := 0, 0, errNotReady
	ask := func() {
		if asked < len(order) {
			d.join(&ask{shard: s, replica: order[asked], keys: keys, floor: floor, told: answers})
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

// join has a asked, alone or with others.
func (d *Database) join(a *ask) {
	d.metrics.mayWait(a.replica, a.floor)
	p := a.replica.peer
	g := &p.gets[0]
	if a.floor > 0 {
		g = &p.gets[1] // others need not wait for this floor
	}
	g.mu.Lock()
	g.waiting = append(g.waiting, a)
	leaves := g.flying == 0 || g.flying < d.cfg.Flying && time.Since(g.left) > d.cfg.Stagger
	if leaves {
		g.flying++
	}
	g.mu.Unlock()
	if !leaves {
		d.metrics.shared.Inc()
		return
	}
	if !d.start(func(ctx context.Context) { d.fly(ctx, p, g) }) {
		refuseAll(g.land(), errStopping)
	}
}

// fly asks for what waits until nothing does. When a question fails, all who
// wait go elsewhere.
func (d *Database) fly(ctx context.Context, p *peer, g *gatherer) {
	for {
		runtime.Gosched() // those join who are about to: a question costs as much as many rows
		batch := g.take()
		if batch == nil {
			return
		}
		err := d.together(ctx, p, batch)
		if err == nil {
			continue
		}
		batch = append(batch, g.land()...)
		now := time.Now()
		for _, a := range batch {
			a.replica.failed(d.cfg.Avoid, now)
		}
		refuseAll(batch, err)
		return
	}
}

func refuseAll(batch []*ask, err error) {
	for _, a := range batch {
		a.told <- told{err: err}
	}
}

// take is as much of what waits as one question may be for. Nil ends a flight.
func (g *gatherer) take() []*ask {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, keys := 0, 0
	for n < len(g.waiting) && n < events.MaxGetParts && (n == 0 || keys+len(g.waiting[n].keys) <= events.MaxGetKeys) {
		keys += len(g.waiting[n].keys)
		n++
	}
	if n == 0 {
		g.flying--
		return nil
	}
	batch := g.waiting[:n:n]
	g.waiting, g.left = g.waiting[n:], time.Now()
	return batch
}

// land ends a flight that leaves behind all who wait.
func (g *gatherer) land() []*ask {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flying--
	waiting := g.waiting
	g.waiting = nil
	return waiting
}
