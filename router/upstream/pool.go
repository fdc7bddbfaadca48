// Package upstream is HTTP/1.1 to whoever answers: members of a service and
// shard servers.
//
// A Pool keeps the connections to one address, and each of them carries one
// request at a time. Pool.Do writes a request and returns when the header of
// its answer is there; what becomes of the body is up to the caller. fasthttp's
// HostClient is not used because it cannot distinguish a fresh connection from one
// that was kept, decides before the answer's header whether to stream, and
// leaves a goroutine behind.
package upstream

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Config is what can be tuned.
type Config struct {
	Connect   time.Duration // longest wait for a connection
	Keep      time.Duration // an unused connection is kept this long; below what servers keep (Node: 5 s)
	MaxHeader int           // bytes of an answer's header
}

// Pool is the connections to one address. Its methods may be called by any
// number of goroutines.
type Pool struct {
	address string
	cfg     Config

	mu      sync.Mutex
	idle    []*Conn // the newest last
	open    map[*Conn]struct{}
	retired bool

	abandoned atomic.Bool
}

// NewPool connects to nobody yet.
func NewPool(address string, cfg Config) *Pool {
	return &Pool{address: address, cfg: cfg, open: map[*Conn]struct{}{}}
}

// Request is one request, and how it may be sent. Do counts in it, so it is
// used for one request only.
type Request struct {
	Head       Head
	Body       []byte
	Deadline   time.Time     // of the whole answer; with Stall, of its header
	Stall      time.Duration // longest pause within the answer's body; 0: Deadline counts there too
	Repeatable bool          // it may be sent twice, so Abandon may give it up
	Budget     Budget        // nil: no limit but maxSends

	sends int
}

// Head appends the head of a request as it is written. fasthttp's
// RequestHeader is one.
type Head interface{ AppendBytes(dst []byte) []byte }

// Budget bounds the load that repetitions add. Spend counts one, or denies it.
type Budget interface{ Spend() bool }

// maxSends bounds how often one request may be sent.
const maxSends = 4

// MayResend reports whether a request that was sent may be sent once more,
// which it then counts.
func (r *Request) MayResend() bool {
	return r.Repeatable && r.sends < maxSends && (r.Budget == nil || r.Budget.Spend())
}

// Do sends a request and returns when the header of its answer is in h. It
// does not touch h before an answer begins. The caller reads the body and then
// gives the connection back, by Conn.Release or by closing Conn.Stream. The
// end of ctx ends the exchange, body and all. An error is a *Failure or ctx's
// cause.
//
// A kept connection may have ended: servers close those that nobody uses. If
// that shows before anything was sent, the request goes on with the next
// connection, whatever it is. If it shows afterwards, the server may have
// acted on the request, which goes on, on a fresh connection, only if it may
// be repeated.
func (p *Pool) Do(ctx context.Context, req *Request, h *fasthttp.ResponseHeader) (*Conn, error) {
	for fresh := false; ; {
		c, err := p.get(ctx, req, fresh)
		if err == nil {
			if err = c.roundTrip(ctx, req, h); err == nil {
				return c, nil
			}
			c.endExchange()
			p.close(c)
		}
		var failed *Failure
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errEnded):
		case errors.As(err, &failed) && failed.Kind == Stale && req.MayResend():
			fresh = true
		default:
			return nil, err
		}
	}
}

// get gives the connection used last, or a new one.
func (p *Pool) get(ctx context.Context, req *Request, fresh bool) (*Conn, error) {
	if !fresh {
		if c := p.take(); c != nil {
			return c, nil
		}
	}
	return p.dial(ctx, req.Deadline)
}

// take gives the connection used last, or nil.
func (p *Pool) take() *Conn {
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

func (p *Pool) put(c *Conn, keep bool) {
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

func (p *Pool) dial(ctx context.Context, deadline time.Time) (*Conn, error) {
	wait := min(p.cfg.Connect, time.Until(deadline))
	if wait <= 0 {
		return nil, &Failure{Late, errNoTime}
	}
	dialer := net.Dialer{Timeout: wait}
	nc, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, &Failure{kindOfDialError(err, wait < p.cfg.Connect), err}
	}
	c, err := newConn(nc, p)
	if err != nil {
		_ = nc.Close() // nothing was sent
		return nil, &Failure{Exhausted, err}
	}
	p.mu.Lock()
	p.open[c] = struct{}{}
	p.mu.Unlock()
	return c, nil
}

func (p *Pool) close(c *Conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.nc.Close() // nothing to save: it is broken, or nobody needs it
}

// Probe opens a connection and keeps it for later.
func (p *Pool) Probe() error {
	c, err := p.dial(context.Background(), time.Now().Add(2*p.cfg.Connect))
	if err != nil {
		return err
	}
	p.put(c, true)
	return nil
}

// CloseIdle ends the connections that nobody uses.
func (p *Pool) CloseIdle() { p.Expire(time.Now().Add(time.Hour)) }

// Expire ends the connections that nobody has used since before at.
func (p *Pool) Expire(at time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince.Before(at) {
		n++
	}
	old := append([]*Conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	clear(p.idle[len(p.idle):cap(p.idle)])
	p.mu.Unlock()
	for _, c := range old {
		p.close(c)
	}
}

// Retire keeps no connection any more.
func (p *Pool) Retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.CloseIdle()
}

// Abandon gives up, with ErrAbandoned, what may be sent elsewhere and has no
// answer yet, now and later: the server may hang. Each connection that waits
// is woken, and what begins to wait later sees the mark.
func (p *Pool) Abandon() {
	p.abandoned.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.giveUp()
	}
}

// CloseAll ends every connection, and with it what it carries.
func (p *Pool) CloseAll() {
	p.Retire()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.nc.Close() // its user notices, and gives it to close
	}
}
