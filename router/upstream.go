package router

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// upstream is one member as this router knows it. It outlives route changes
// for as long as the member keeps its name and address.
type upstream struct {
	name, address string
	wire          wire
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

// wire carries one request to a member and its answer back into ctx. It
// returns a *failure, and then ctx.Request is as it was. With fresh it does not
// use a connection that carried requests before. If the answer is streamed, it
// calls upstream.leave when the stream is closed.
type wire interface {
	exchange(ctx *fasthttp.RequestCtx, deadline time.Time, fresh bool) error
	probe() error        // opens a connection, and keeps it for later
	closeIdle()          // ends connections that nobody uses
	expire(at time.Time) // ends those unused since before at
	retire()             // keeps no connection any more
	abandon()            // fails, as broken, what may be sent elsewhere and has no answer yet
	closeAll()           // ends every connection, and with it what it carries
}

func (r *Router) newUpstream(service string, m events.Member, load *atomic.Int64) *upstream {
	u := &upstream{name: m.Name, address: m.Address, load: load, idle: r.heartbeatNow}
	u.metrics = r.metrics.member(service, m.Name)
	u.wire = newPool(u, &r.cfg)
	return u
}

func (u *upstream) up() bool { return !u.ejected.Load() }

func (u *upstream) enter() {
	u.inflight.Add(1)
	u.load.Add(1)
}

func (u *upstream) leave() {
	u.load.Add(-1)
	if u.inflight.Add(-1) == 0 && u.leaving.Load() {
		notify(u.idle)
	}
}

func (u *upstream) count(code int, begun time.Time) {
	u.metrics.answers[min(max(code/100, 0), 5)].Inc()
	u.metrics.duration.Observe(time.Since(begun).Seconds())
}

// eject takes the member out until a trial succeeds; false if it is out already.
func (u *upstream) eject(wait time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ejected.CompareAndSwap(false, true) {
		return false
	}
	u.wait, u.trialAt = wait, time.Now().Add(wait)
	return true
}

// trialSoon brings the next trial forward: there is news of the member.
func (u *upstream) trialSoon() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.trialAt = time.Time{}
}

// trialDue claims the trial of an ejected member if it is time, and else says
// when it will be; zero if never.
func (u *upstream) trialDue(now time.Time) (due bool, at time.Time) {
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

func (u *upstream) tried(ok bool, now time.Time, most time.Duration) {
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
