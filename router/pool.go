package router

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// pool is the wire to one member: connections that carry one request at a
// time. fasthttp's HostClient is not used because it cannot tell a fresh
// connection from one that was kept, decides before the answer's header
// whether to stream, and leaves a goroutine behind.
type pool struct {
	owner *upstream
	cfg   *Config

	mu      sync.Mutex
	idle    []*conn // the newest last
	open    map[*conn]struct{}
	retired bool

	abandoned atomic.Bool
}

func newPool(owner *upstream, cfg *Config) *pool {
	return &pool{owner: owner, cfg: cfg, open: map[*conn]struct{}{}}
}

// exchange implements wire.
func (p *pool) exchange(ctx *fasthttp.RequestCtx, deadline time.Time, fresh bool) error {
	for {
		var c *conn
		if !fresh {
			c = p.take()
		}
		if c == nil {
			var err error
			if c, err = p.dial(deadline); err != nil {
				return err
			}
		}
		keep, err := c.carry(ctx, deadline)
		switch {
		case err == nil && ctx.Response.IsBodyStream():
			return nil // streamed.Close puts it back
		case err == nil:
			p.put(c, keep)
			return nil
		}
		p.close(c)
		if !errors.Is(err, errDead) {
			return err
		}
	}
}

// take gives the connection used last, or nil.
func (p *pool) take() *conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if time.Since(c.idleSince) < p.cfg.Keep {
			return c
		}
		p.close(c)
	}
}

func (p *pool) put(c *conn, keep bool) {
	if !keep || c.br.Buffered() > 0 { // bytes after the answer: do not guess what they are
		p.close(c)
		return
	}
	c.idleSince, c.kept = time.Now(), true
	p.mu.Lock()
	if p.retired {
		p.mu.Unlock()
		p.close(c)
		return
	}
	p.idle = append(p.idle, c)
	p.mu.Unlock()
}

func (p *pool) dial(deadline time.Time) (*conn, error) {
	wait := min(p.cfg.Connect, time.Until(deadline))
	if wait <= 0 {
		return nil, &failure{late, errDeadline}
	}
	dialer := net.Dialer{Timeout: wait}
	nc, err := dialer.Dial("tcp", p.owner.address)
	if err != nil {
		return nil, &failure{blame(err, wait < p.cfg.Connect), err}
	}
	c, err := newConn(nc, p)
	if err != nil {
		_ = nc.Close() // nothing was sent
		return nil, &failure{exhausted, err}
	}
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.mu.Unlock()
	return c, nil
}

func (p *pool) close(c *conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.nc.Close() // nothing to save: it is broken, or nobody needs it
}

// probe implements wire.
func (p *pool) probe() error {
	c, err := p.dial(time.Now().Add(2 * p.cfg.Connect))
	if err != nil {
		return err
	}
	p.put(c, true)
	return nil
}

// closeIdle implements wire.
func (p *pool) closeIdle() { p.expire(time.Now().Add(time.Hour)) }

// expire implements wire.
func (p *pool) expire(at time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince.Before(at) {
		n++
	}
	old := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	clear(p.idle[len(p.idle):cap(p.idle)])
	p.mu.Unlock()
	for _, c := range old {
		p.close(c)
	}
}

// retire implements wire.
func (p *pool) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.closeIdle()
}

// abandon implements wire. Every connection that waits now is woken, and what
// begins to wait later sees the mark.
func (p *pool) abandon() {
	p.abandoned.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.giveUp()
	}
}

// closeAll implements wire.
func (p *pool) closeAll() {
	p.retire()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.nc.Close() // its user notices, and gives it to close
	}
}

// failure is why a request got no answer from a member.
type failure struct {
	kind failureKind
	err  error
}

type failureKind int

const (
	unreachable failureKind = iota // no connection, by the member's fault; nothing was sent
	exhausted                      // no connection, by this machine's fault; nothing was sent
	stale                          // a kept connection ended before any byte of the answer
	broken                         // a fresh one did, or any within the answer
	late                           // no whole answer in time
	garbled                        // an answer that is not HTTP
)

var (
	errDeadline  = errors.New("no time is left")
	errAbandoned = errors.New("the member left the rotation before it answered")
)

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// blame says why a connection could not be made; hurried if less time was left
// than a connection is given.
func blame(err error, hurried bool) failureKind {
	switch {
	case hurried && isTimeout(err):
		return late
	case isLocal(err):
		return exhausted
	}
	return unreachable
}

// isLocal tells errors of this machine from those of the member, who must not
// be ejected for our lack of descriptors or ports.
func isLocal(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EACCES} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
