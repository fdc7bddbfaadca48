package shardclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// pool keeps connections to one server, each for one HTTP/1.1 request at a time.
// All requests are reads: one whose kept connection ended is sent again on a
// fresh one.
type pool struct {
	address string
	cfg     *Config

	mu      sync.Mutex
	idle    []*link // the newest last
	open    map[*link]struct{}
	retired bool
}

// Address is where the server listens.
func (p *pool) Address() string { return p.address }

func newPool(address string, cfg *Config) *pool {
	return &pool{address: address, cfg: cfg, open: map[*link]struct{}{}}
}

// link is one connection.
type link struct {
	pool    *pool
	nc      net.Conn
	br      *bufio.Reader
	idle    time.Time
	waiting bool // for an answer; under pool.mu
}

// reply is an answer whose body is still to be read. Close it.
type reply struct {
	code   int
	length int // of the body; at most 0 if it is not known
	body   io.Reader
	link   *link
	stop   func() bool // ends ctx's hold on the connection
	keep   bool
	whole  bool
	closed bool
}

var errRetired = errors.New("the server left the route before it answered")

// ask sends a request and returns when the answer's header is there, at most
// cfg.Try later. The end of ctx ends the answer too.
func (p *pool) ask(ctx context.Context, method, uri string, body []byte) (*reply, error) {
	for fresh := false; ; fresh = true {
		l, kept, err := p.take(ctx, fresh)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", p.address, err)
		}
		r, err := l.exchange(ctx, method, uri, body)
		if err == nil {
			return r, nil
		}
		p.close(l)
		var timeout net.Error
		if !kept || ctx.Err() != nil || errors.Is(err, errRetired) || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("ask %s: %w", p.address, err)
		}
	}
}

// take gives a connection that was kept, or a fresh one.
func (p *pool) take(ctx context.Context, fresh bool) (l *link, kept bool, err error) {
	p.mu.Lock()
	for n := len(p.idle); n > 0 && !fresh; n = len(p.idle) {
		l := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if time.Since(l.idle) < p.cfg.Keep {
			p.mu.Unlock()
			return l, true, nil
		}
		delete(p.open, l)
		_ = l.nc.Close() // too old to be trusted
	}
	p.mu.Unlock()
	dialer := net.Dialer{Timeout: p.cfg.Connect}
	nc, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, false, err
	}
	l = &link{pool: p, nc: nc, br: bufio.NewReaderSize(nc, 16<<10)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[l] = struct{}{}
	return l, false, nil
}

func (l *link) exchange(ctx context.Context, method, uri string, body []byte) (*reply, error) {
	if err := l.nc.SetDeadline(time.Now().Add(l.pool.cfg.Try)); err != nil {
		return nil, err
	}
	if !l.awaits(true) { // from here on Retire may move the deadline
		return nil, errRetired
	}
	stop := context.AfterFunc(ctx, func() { _ = l.nc.SetDeadline(time.Unix(1, 0)) }) // fails only if it is closed
	r, err := l.send(method, uri, body)
	gone := !l.awaits(false)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil && gone:
		err = errRetired
	}
	if err != nil {
		stop()
		return nil, err
	}
	r.stop, r.body = stop, &stallReader{ctx: ctx, link: l, r: r.body}
	return r, nil
}

// awaits marks the link as waiting for an answer or not; false if its pool is
// retired.
func (l *link) awaits(answer bool) bool {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	l.waiting = answer
	return !l.pool.retired
}

func (l *link) send(method, uri string, body []byte) (*reply, error) {
	out := make([]byte, 0, 128+len(uri)+len(body))
	out = append(out, method+" "+uri+" HTTP/1.1\r\nHost: "+l.pool.address+"\r\n"...)
	if body != nil {
		out = append(out, "Content-Type: application/json\r\nContent-Length: "...)
		out = append(strconv.AppendInt(out, int64(len(body)), 10), "\r\n"...)
	}
	out = append(append(out, "\r\n"...), body...)
	if _, err := l.nc.Write(out); err != nil {
		return nil, err
	}
	var h fasthttp.ResponseHeader
	if err := h.Read(l.br); err != nil {
		return nil, err
	}
	r := &reply{code: h.StatusCode(), link: l, keep: !h.ConnectionClose()}
	r.length = h.ContentLength()
	switch n := r.length; {
	case n >= 0:
		r.body = &fixed{r: l.br, left: n, whole: &r.whole}
		r.whole = n == 0
	case n == -1:
		r.body = &chunked{r: httputil.NewChunkedReader(l.br), br: l.br, whole: &r.whole}
	default:
		return nil, errors.New("an answer whose end cannot be told")
	}
	return r, nil
}

// Close keeps the connection if all of the answer was read.
func (r *reply) Close() {
	if r.closed {
		return
	}
	r.closed = true
	free := r.stop()
	r.link.pool.put(r.link, r.keep && r.whole && free)
}

// all reads the rest of a short answer.
func (r *reply) all(limit int) ([]byte, error) {
	if n := r.length; n > 0 && n <= limit {
		b := make([]byte, n)
		_, err := io.ReadFull(r.body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r.body, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("an answer of more than %d bytes", limit)
	}
	return b, err
}

const maxStatusError = 64 << 10

// statusError is why a replica does not answer.
func (r *reply) statusError() error {
	body, err := r.all(maxStatusError)
	if err != nil {
		return err
	}
	statusErr := &events.StatusError{}
	if err := json.Unmarshal(body, statusErr); err != nil || statusErr.Message == "" {
		return fmt.Errorf("status %d: %.200q", r.code, body)
	}
	statusErr.Code = r.code
	return statusErr
}

func (p *pool) put(l *link, keep bool) {
	if !keep || l.br.Buffered() > 0 {
		p.close(l)
		return
	}
	l.idle = time.Now()
	p.mu.Lock()
	retired := p.retired
	if !retired {
		p.idle = append(p.idle, l)
	}
	p.mu.Unlock()
	if retired {
		p.close(l)
	}
}

func (p *pool) close(l *link) {
	p.mu.Lock()
	delete(p.open, l)
	p.mu.Unlock()
	_ = l.nc.Close() // nothing to save
}

// Expire ends connections that nobody has used since at.
func (p *pool) Expire(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && p.idle[n].idle.Before(at) {
		delete(p.open, p.idle[n])
		_ = p.idle[n].nc.Close() // nobody uses it
		n++
	}
	p.idle = append(p.idle[:0], p.idle[n:]...)
}

// Retire keeps no connection any more, and gives up requests that have no
// answer yet: the server may hang, and another may answer them.
func (p *pool) Retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	for _, l := range p.idle {
		delete(p.open, l)
		_ = l.nc.Close() // nobody uses it
	}
	p.idle = nil
	for l := range p.open {
		if l.waiting {
			_ = l.nc.SetDeadline(time.Unix(1, 0)) // fails only if it is closed
		}
	}
}

// stallReader reads a body that may pause for cfg.Stall.
type stallReader struct {
	ctx  context.Context // of the request
	link *link
	r    io.Reader
}

func (p *stallReader) Read(b []byte) (int, error) {
	_ = p.link.nc.SetReadDeadline(time.Now().Add(p.link.pool.cfg.Stall)) // fails only if it is closed
	if p.ctx.Err() != nil {                                              // after the deadline was moved: it may have overwritten ctx's
		return 0, context.Cause(p.ctx)
	}
	return p.r.Read(b)
}

// fixed reads a body of known length.
type fixed struct {
	r     io.Reader
	left  int
	whole *bool
}

func (f *fixed) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.r.Read(b[:min(len(b), f.left)])
	if f.left -= n; f.left == 0 {
		*f.whole = true
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunked reads a body in chunks, and drops the trailer behind it.
type chunked struct {
	r     io.Reader
	br    *bufio.Reader
	whole *bool
}

func (c *chunked) Read(b []byte) (int, error) {
	if *c.whole {
		return 0, io.EOF
	}
	n, err := c.r.Read(b)
	for err == io.EOF && !*c.whole {
		line, bad := c.br.ReadSlice('\n')
		if bad == io.EOF {
			bad = io.ErrUnexpectedEOF
		}
		if bad != nil {
			return n, bad
		}
		*c.whole = len(line) <= 2
	}
	return n, err
}
