package router

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"time"

	"github.com/valyala/fasthttp"
)

// maxInterim is how many 1xx answers a member may send before the real one.
const maxInterim = 8

// untilClose is the length of a body that ends with the connection, as
// fasthttp writes it.
const untilClose = -2

// carry sends the request and reads its answer, up to the point where it is
// held in memory or is streamed. keep says whether the connection can carry
// another request.
func (c *conn) carry(ctx *fasthttp.RequestCtx, deadline time.Time) (keep bool, err error) {
	if err := c.nc.SetDeadline(deadline); err != nil {
		return false, c.fail(err, false, deadline)
	}
	if idempotent(&ctx.Request.Header) {
		c.awaitAnswer()
	}
	if err := c.ask(&ctx.Request); err != nil {
		return false, c.fail(err, false, deadline)
	}
	if !c.awaited() {
		return false, &failure{broken, errAbandoned}
	}
	resp := &ctx.Response
	resp.ResetBody()
	for n := 0; n == 0 || resp.StatusCode() < 200; n++ {
		if n > maxInterim || n > 0 && resp.StatusCode() == fasthttp.StatusSwitchingProtocols {
			return false, &failure{garbled, errors.New("an answer to what was not asked")}
		}
		if err := resp.Header.Read(c.br); err != nil {
			return false, c.fail(err, true, deadline)
		}
	}
	c.used = true
	length := resp.Header.ContentLength()
	keep = !resp.ConnectionClose() && resp.Header.IsHTTP11() && length != untilClose
	switch {
	case ctx.Request.Header.IsHead(), resp.StatusCode() == fasthttp.StatusNoContent, resp.StatusCode() == fasthttp.StatusNotModified:
		resp.SkipBody = true
		return keep, nil
	case length >= 0 && length <= c.pool.cfg.MaxBuffer:
		if err := resp.ReadBody(c.br, 0); err != nil {
			return false, c.fail(err, true, deadline)
		}
		return keep, nil
	}
	return keep, c.stream(ctx, length, keep, deadline) // Slow path
}

// fail says what an error means for a retry.
func (c *conn) fail(err error, answering bool, deadline time.Time) error {
	var network *net.OpError
	switch {
	case errors.Is(err, errDead):
		return err
	case c.waits.Load() == waitsNoMore && time.Now().Before(deadline):
		return &failure{broken, errAbandoned}
	case isTimeout(err), errors.Is(err, fasthttp.ErrTimeout), !time.Now().Before(deadline):
		return &failure{late, err}
	case !answering && c.used:
		return &failure{stale, err}
	case !answering, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return &failure{broken, err}
	}
	return &failure{garbled, err}
}

// stream makes resp read its body from the connection while it is sent on. An
// answer in chunks that is here already is taken whole, so that it is sent on
// in one piece.
func (c *conn) stream(ctx *fasthttp.RequestCtx, length int, keep bool, deadline time.Time) error {
	resp := &ctx.Response
	a := &streamed{conn: c, keep: keep}
	switch {
	case length >= 0:
		a.src = &fixed{r: c.br, left: length}
		resp.SetBodyStream(a, length)
		return nil
	case length == -1:
		a.src = &chunked{r: httputil.NewChunkedReader(c.br), conn: c}
	default: // untilClose: an end cannot be told from a death
		a.src = c.br
	}
	var here bytes.Buffer
	part := make([]byte, 4096)
	most, patient := c.pool.cfg.MaxBuffer, false
	if ctx.UserValue(http10Client{}) != nil {
		most, patient = c.pool.cfg.MaxBody, true
	}
	for here.Len() < most && (patient || here.Len() == 0 || c.br.Buffered() > 0) {
		n, err := a.src.Read(part)
		here.Write(part[:n])
		if err == io.EOF {
			resp.SetBody(here.Bytes())
			return nil
		}
		if err != nil {
			return c.fail(err, true, deadline)
		}
	}
	if patient {
		return &failure{garbled, errors.New("an answer without length is too large for HTTP/1.0")}
	}
	a.src = io.MultiReader(&here, a.src)
	resp.SetBodyStream(a, -1)
	return nil
}

// streamed is the body of an answer that is sent on while it is read.
type streamed struct {
	conn   *conn
	src    io.Reader
	keep   bool
	whole  bool
	closed bool
}

func (a *streamed) Read(b []byte) (int, error) {
	n, err := a.src.Read(b)
	if err == io.EOF {
		a.whole = true
	}
	return n, err
}

// Close gives the connection back and counts the request as done.
func (a *streamed) Close() error {
	if a.closed {
		return nil
	}
	a.closed = true
	if f, ok := a.src.(*fixed); ok && f.left == 0 {
		a.whole = true
	}
	a.conn.pool.put(a.conn, a.keep && a.whole)
	a.conn.pool.owner.leave()
	return nil
}

// fixed reads a body of known length.
type fixed struct {
	r    io.Reader
	left int
}

func (f *fixed) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.r.Read(b[:min(len(b), f.left)])
	f.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunked reads a body in chunks, and drops the trailer behind it.
type chunked struct {
	r    io.Reader
	conn *conn
	done bool
}

func (c *chunked) Read(b []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	n, err := c.r.Read(b)
	if err != io.EOF {
		return n, err
	}
	for {
		line, err := c.conn.br.ReadSlice('\n')
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			c.done = true
			return n, io.EOF
		}
	}
}
