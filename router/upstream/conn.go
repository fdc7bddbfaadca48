package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// Conn is a connection. While it carries an answer it belongs to whoever got
// it from Pool.Do.
type Conn struct {
	pool      *Pool
	nc        net.Conn
	br        *bufio.Reader
	used      bool // has carried an answer
	kept      bool // was in the pool
	idleSince time.Time
	waits     atomic.Int32 // state of a request that Abandon may give up
	out       []byte       // memory for what is written

	raw  syscall.RawConn
	look func(fd uintptr) bool // c.lookOnce, made once so that it does not allocate
	seen bool                  // what it found

	// Of the exchange that is on.
	length   int  // of the answer's body: see Length
	keep     bool // the connection can carry another request afterwards
	deadline time.Time
	stall    time.Duration
	ctx      context.Context
	stop     func() bool // ends ctx's hold on the connection; nil: it has none
}

const (
	maxSingleWrite = 16 << 10 // bytes of a request that is written in one piece
	maxKeptBuffer  = 4 << 10  // of memory for it that an idle connection keeps
	maxInterim     = 8        // 1xx answers before the real one
)

// UntilClose is the length of a body that ends with the connection, as
// fasthttp writes it.
const UntilClose = -2

func newConn(nc net.Conn, p *Pool) (*Conn, error) {
	raw, err := nc.(syscall.Conn).SyscallConn() // it is TCP
	if err != nil {
		return nil, err
	}
	c := &Conn{nc: nc, pool: p, raw: raw, br: bufio.NewReaderSize(nc, p.cfg.MaxHeader)}
	c.look = c.lookOnce
	return c, nil
}

// roundTrip writes a request and reads the header of its answer. It is the one
// place where a connection is written, and where reading it begins.
//
// First the deadline is set, for all that follows. A connection that was kept
// is then looked at, without waiting: if the other end has closed it, or has
// sent something that nobody asked for (a 408, say), nothing is written and
// the error is errEnded. Without this look a POST would be lost on a
// connection that ended a moment ago, and an unasked answer would be taken for
// that of the next request. The request is written whole before the answer is
// read; a short body goes out with the header, in one piece. From then until
// the first byte of the answer Abandon may give up a request that may be
// repeated. Interim answers (1xx) are dropped.
//
// What an error means depends on where it happened: see failure.
func (c *Conn) roundTrip(ctx context.Context, req *Request, h *fasthttp.ResponseHeader) error {
	c.deadline, c.stall, c.ctx = req.Deadline, req.Stall, ctx
	if err := c.nc.SetDeadline(req.Deadline); err != nil {
		return c.failure(err, false)
	}
	if c.kept && c.ended() {
		return errEnded
	}
	if ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, c.expireNow)
	}
	if req.Repeatable {
		c.awaitAnswer()
	}
	req.sends++
	if err := c.write(req); err != nil {
		return c.failure(err, false)
	}
	if _, err := c.br.Peek(1); err != nil {
		return c.failure(err, false)
	}
	if !c.answerBegan() {
		return &Failure{Broken, ErrAbandoned}
	}
	for n := 0; n == 0 || h.StatusCode() < 200; n++ {
		if n > maxInterim || n > 0 && h.StatusCode() == http.StatusSwitchingProtocols {
			return &Failure{Garbled, errors.New("an answer to what was not asked")}
		}
		if err := h.Read(c.br); err != nil {
			return c.failure(err, true)
		}
	}
	c.used, c.length = true, h.ContentLength()
	c.keep = !h.ConnectionClose() && h.IsHTTP11() && c.length != UntilClose
	return nil
}

func (c *Conn) write(req *Request) error {
	c.out = req.Head.AppendBytes(c.out[:0])
	var err error
	if len(c.out)+len(req.Body) <= maxSingleWrite {
		c.out = append(c.out, req.Body...)
		_, err = c.nc.Write(c.out)
	} else {
		_, err = (&net.Buffers{c.out, req.Body}).WriteTo(c.nc)
	}
	if cap(c.out) > maxKeptBuffer {
		c.out = nil
	}
	return err
}

// ended reports whether there is an end, an error or a byte to read now.
func (c *Conn) ended() bool {
	c.seen = false
	if err := c.raw.Read(c.look); err != nil {
		return false // the write shows why
	}
	return c.seen
}

func (c *Conn) lookOnce(fd uintptr) (done bool) {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		c.seen = !errors.Is(err, syscall.EAGAIN)
		return true
	}
}

// failure is what an error means for another attempt.
func (c *Conn) failure(err error, answering bool) error {
	var network *net.OpError
	switch {
	case c.waits.Load() == waitsNoMore && time.Now().Before(c.deadline):
		return &Failure{Broken, ErrAbandoned}
	case IsTimeout(err), errors.Is(err, fasthttp.ErrTimeout), !time.Now().Before(c.deadline):
		return &Failure{Late, err}
	case !answering && c.used:
		return &Failure{Stale, err}
	case !answering, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return &Failure{Broken, err}
	}
	return &Failure{Garbled, err}
}

const (
	waitsNot int32 = iota
	waitsForAnswer
	waitsNoMore // its pool was abandoned
)

// awaitAnswer begins the time in which giveUp may end the request.
func (c *Conn) awaitAnswer() {
	c.waits.Store(waitsForAnswer)
	if c.pool.abandoned.Load() {
		c.giveUp()
	}
}

// answerBegan ends it, and reports whether the request goes on.
func (c *Conn) answerBegan() bool {
	return c.waits.Load() == waitsNot || c.waits.CompareAndSwap(waitsForAnswer, waitsNot)
}

func (c *Conn) giveUp() {
	if c.waits.CompareAndSwap(waitsForAnswer, waitsNoMore) {
		c.expireNow()
	}
}

func (c *Conn) expireNow() { _ = c.nc.SetDeadline(time.Unix(1, 0)) } // fails only if it is closed, which is as good

// Length of the answer's body in bytes; -1 if it comes in chunks, UntilClose
// if it ends with the connection.
func (c *Conn) Length() int { return c.length }

// ReadBody reads a body of known length into resp, and does not release the
// connection. An error is a *Failure.
func (c *Conn) ReadBody(resp *fasthttp.Response) error {
	if err := resp.ReadBody(c.br, 0); err != nil {
		return c.failure(err, true)
	}
	return nil
}

// Release gives the connection back. It is kept for another request if all of
// the answer was read, and the server agrees.
func (c *Conn) Release(whole bool) {
	free := c.endExchange()
	c.pool.put(c, c.keep && whole && free)
}

// endExchange reports whether the deadline is the connection's own still.
func (c *Conn) endExchange() bool {
	stop := c.stop
	c.ctx, c.stop = nil, nil
	return stop == nil || stop()
}
