package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/internal/notify"
	"ringway/router/upstream"
)

// member is one member as this router knows it. It outlives route changes
// for as long as the member keeps its name and address.
type member struct {
	name, address string
	pool          *upstream.Pool
	cfg           *Config
	budget        *budget // of the proxy
	inflight      atomic.Int64
	load          *atomic.Int64 // in flight at all members of the service
	leaving       atomic.Bool   // draining or departed: somebody waits for inflight to reach zero
	idle          notify.Signal // notified when it does
	ejected       atomic.Bool
	metrics       memberMetrics

	mu      sync.Mutex
	trialAt time.Time
	wait    time.Duration // before trialAt
	trying  bool
}

func (p *Proxy) newMember(service string, m events.Member, load *atomic.Int64) *member {
	return &member{
		name: m.Name, address: m.Address, cfg: &p.cfg, load: load, idle: p.idle, budget: &p.budget, metrics: p.metrics.member(service, m.Name),
		pool: upstream.NewPool(m.Address, upstream.Config{Connect: p.cfg.Connect, Keep: p.cfg.Keep, MaxHeader: p.cfg.MaxHeader}),
	}
}

func (m *member) up() bool { return !m.ejected.Load() }

func (m *member) enter() {
	m.inflight.Add(1)
	m.load.Add(1)
}

func (m *member) leave() {
	m.load.Add(-1)
	if m.inflight.Add(-1) == 0 && m.leaving.Load() {
		m.idle.Notify()
	}
}

// Spend implements upstream.Budget for requests that were sent to m.
func (m *member) Spend() bool {
	if !m.budget.withdraw() {
		return false
	}
	m.metrics.retries.Inc()
	return true
}

func (m *member) count(code int, begun time.Time) {
	m.metrics.answers[min(max(code/100, 0), 5)].Inc()
	m.metrics.duration.Observe(time.Since(begun).Seconds())
}

// eject takes the member out until a trial succeeds; false if it is out already.
func (m *member) eject(wait time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ejected.CompareAndSwap(false, true) {
		return false
	}
	m.wait, m.trialAt = wait, time.Now().Add(wait)
	return true
}

// trialSoon brings the next trial forward.
func (m *member) trialSoon() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trialAt = time.Time{}
}

// trialDue claims the trial of an ejected member if it is time, and else
// returns when it will be; zero if never.
func (m *member) trialDue(now time.Time) (due bool, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ejected.Load() || m.trying {
		return false, time.Time{}
	}
	if m.trialAt.After(now) {
		return false, m.trialAt
	}
	m.trying = true
	return true, time.Time{}
}

func (m *member) tried(ok bool, now time.Time, maxWait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trying = false
	if ok {
		m.ejected.Store(false)
		return
	}
	m.wait = min(2*m.wait, maxWait)
	m.trialAt = now.Add(m.wait)
}

// budget bounds the load that retries add: it is a bucket of tokens. Each
// request puts one in, up to size, and a retry takes price of them.
type budget struct {
	tokens      atomic.Int64
	price, size int64
}

func (b *budget) fill(burst, ratio int) {
	b.price, b.size = int64(ratio), int64(burst)*int64(ratio)
	b.tokens.Store(b.size)
}

func (b *budget) deposit() {
	if b.tokens.Load() < b.size {
		b.tokens.Add(1)
	}
}

func (b *budget) withdraw() bool {
	if b.tokens.Add(-b.price) >= 0 {
		return true
	}
	b.tokens.Add(b.price)
	return false
}
