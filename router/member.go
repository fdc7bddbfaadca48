package router

import (
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/router/upstream"
)

// member is one member as this router knows it. It outlives route changes
// for as long as the member keeps its name and address.
type member struct {
	name, address string
	pool          *upstream.Pool
	cfg           *Config
	budget        *budget // of the router
	inflight      atomic.Int64
	load          *atomic.Int64 // in flight at all members of the service
	leaving       atomic.Bool   // draining or departed: somebody waits for inflight to reach zero
	idle          chan struct{} // poked when it does
	ejected       atomic.Bool
	metrics       memberMetrics

	mu      sync.Mutex
	trialAt time.Time
	wait    time.Duration // before trialAt
	trying  bool
}

func (r *Router) newMember(service string, m events.Member, load *atomic.Int64) *member {
	return &member{
		name: m.Name, address: m.Address, cfg: &r.cfg, load: load, idle: r.heartbeatNow, budget: &r.budget, metrics: r.metrics.member(service, m.Name),
		pool: upstream.NewPool(m.Address, upstream.Config{Connect: r.cfg.Connect, Keep: r.cfg.Keep, MaxHeader: r.cfg.MaxHeader}),
	}
}

func (u *member) up() bool { return !u.ejected.Load() }

func (u *member) enter() {
	u.inflight.Add(1)
	u.load.Add(1)
}

func (u *member) leave() {
	u.load.Add(-1)
	if u.inflight.Add(-1) == 0 && u.leaving.Load() {
		notify(u.idle)
	}
}

// Spend implements upstream.Budget for requests that were sent to u.
func (u *member) Spend() bool {
	if !u.budget.spend() {
		return false
	}
	u.metrics.retries.Inc()
	return true
}

func (u *member) count(code int, begun time.Time) {
	u.metrics.answers[min(max(code/100, 0), 5)].Inc()
	u.metrics.duration.Observe(time.Since(begun).Seconds())
}

// eject takes the member out until a trial succeeds; false if it is out already.
func (u *member) eject(wait time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ejected.CompareAndSwap(false, true) {
		return false
	}
	u.wait, u.trialAt = wait, time.Now().Add(wait)
	return true
}

// trialSoon brings the next trial forward: there is news of the member.
func (u *member) trialSoon() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.trialAt = time.Time{}
}

// trialDue claims the trial of an ejected member if it is time, and else says
// when it will be; zero if never.
func (u *member) trialDue(now time.Time) (due bool, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ejected.Load() || u.trying {
		return false, time.Time{}
	}
	if u.trialAt.After(now) {
		return false, u.trialAt
	}
	u.trying = true
	return true, time.Time{}
}

func (u *member) tried(ok bool, now time.Time, most time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.trying = false
	if ok {
		u.ejected.Store(false)
		return
	}
	u.wait = min(2*u.wait, most)
	u.trialAt = now.Add(u.wait)
}
