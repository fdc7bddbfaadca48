package router

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// conn is one connection to a member. It reads for br, and the first read of an
// answer sends the request: see turn.
type conn struct {
	nc        net.Conn
	pool      *pool
	br        *bufio.Reader
	used      bool // has carried an answer
	kept      bool // was in the pool
	idleSince time.Time
	waits     atomic.Int32 // waits…, of a request that may be sent elsewhere

	raw  syscall.RawConn
	turn func(fd uintptr) bool // c.takeTurn, made once so that it does not allocate
	head []byte                // of the request, and its body if that is short; what is not sent yet
	body []byte                // otherwise
	sent bool                  // by the turn that is on
	in   []byte                // where that reads to
	n    int                   // what it read
	err  error                 // how it ended
	out  []byte                // head's memory
}

const (
	maxSingleWrite = 16 << 10 // bytes of a request that is sent in one piece
	maxKeptBuffer  = 4 << 10  // of memory for it that an idle connection keeps
)

// errDead is of a connection that the other end closed while nobody used it.
// Nothing was sent.
var errDead = errors.New("the connection had ended")

func newConn(nc net.Conn, p *pool) (*conn, error) {
	raw, err := nc.(syscall.Conn).SyscallConn() // it is TCP
	if err != nil {
		return nil, err
	}
	c := &conn{nc: nc, pool: p, raw: raw}
	c.br, c.turn = bufio.NewReaderSize(c, p.cfg.MaxHeader), c.takeTurn
	return c, nil
}

// ask sends the request as it is now, whose body is in memory, and returns when
// the answer begins.
func (c *conn) ask(req *fasthttp.Request) error {
	c.out = req.Header.AppendBytes(c.out[:0])
	if body := req.Body(); len(c.out)+len(body) <= maxSingleWrite {
		c.out = append(c.out, body...)
	} else {
		c.body = body
	}
	c.head = c.out
	_, err := c.br.Peek(1)
	c.head, c.body = nil, nil
	if cap(c.out) > maxKeptBuffer {
		c.out = nil
	}
	return err
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	if c.head == nil {
		return c.nc.Read(p)
	}
	c.in, c.sent, c.n, c.err = p, false, 0, nil
	err := c.raw.Read(c.turn)
	c.in = nil
	if err != nil || c.err != nil || c.n > 0 {
		c.head = nil
		return c.n, errors.Join(err, c.err)
	}
	// Slow path: it is long
	rest := net.Buffers{c.head, c.body}
	c.head = nil
	if _, err := rest.WriteTo(c.nc); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}

// takeTurn sends the request and then, when the member has sent something,
// reads. In between the runtime waits for that. It tells once what came since
// the turn began, and what came before the look at a kept connection finds: so
// nobody needs to try in vain to read an answer that cannot be there yet. On a
// fresh one, where no look was needed, somebody does. The look also saves
// requests that cannot be sent twice from a connection that has ended.
func (c *conn) takeTurn(fd uintptr) (done bool) {
	if c.sent {
		c.n, c.err = retried(syscall.Read, fd, c.in)
		switch {
		case errors.Is(c.err, syscall.EAGAIN):
			c.err = nil
			return false
		case c.n == 0 && c.err == nil:
			c.err = io.EOF
		}
		return true
	}
	c.sent = true
	if c.kept {
		if _, err := retried(syscall.Read, fd, c.in[:1]); !errors.Is(err, syscall.EAGAIN) {
			c.err = errDead
			return true
		}
	}
	n, err := retried(syscall.Write, fd, c.head)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		c.err = err
		return true
	}
	c.head = c.head[n:]
	if len(c.head) > 0 || len(c.body) > 0 {
		return true
	}
	return !c.kept && c.takeTurn(fd)
}

// retried calls again what a signal interrupted.
func retried(call func(int, []byte) (int, error), fd uintptr, b []byte) (n int, err error) {
	for {
		if n, err = call(int(fd), b); !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}

const (
	waitsNot int32 = iota
	waitsForAnswer
	waitsNoMore // its member was abandoned
)

// awaitAnswer begins the time in which giveUp may end the request.
func (c *conn) awaitAnswer() {
	c.waits.Store(waitsForAnswer)
	if c.pool.abandoned.Load() {
		c.giveUp()
	}
}

// awaited ends it, and reports whether the request goes on.
func (c *conn) awaited() bool {
	return c.waits.Load() == waitsNot || c.waits.CompareAndSwap(waitsForAnswer, waitsNot)
}

func (c *conn) giveUp() {
	if c.waits.CompareAndSwap(waitsForAnswer, waitsNoMore) {
		_ = c.nc.SetDeadline(time.Unix(1, 0)) // fails only if it is closed, which is as good
	}
}
