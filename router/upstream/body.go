package upstream

import (
	"bytes"
	"context"
	"io"
	"net/http/httputil"
	"time"
)

// Body is the body of an answer that is read while it arrives. Read returns
// io.EOF at its end and otherwise a *Failure or the cause of the request's
// context. Close gives the connection back.
type Body struct {
	conn   *Conn
	left   int       // bytes, of a body of known length
	chunks io.Reader // of one in chunks; nil: another
	whole  bool
	closed bool
}

// Stream is the body of the answer. It is closed instead of releasing c.
func (c *Conn) Stream() *Body {
	b := &Body{conn: c, left: c.length, whole: c.length == 0}
	if c.length == -1 {
		b.chunks = httputil.NewChunkedReader(c.br)
	}
	return b
}

// Buffered reports whether some of the answer is here and was not read.
func (b *Body) Buffered() bool { return b.conn.br.Buffered() > 0 }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.whole {
		return 0, io.EOF
	}
	c := b.conn
	if c.stall > 0 {
		c.deadline = time.Now().Add(c.stall)
		_ = c.nc.SetReadDeadline(c.deadline) // fails only if it is closed
		if c.ctx.Err() != nil {              // after the deadline was moved: it may have overwritten ctx's
			return 0, context.Cause(c.ctx)
		}
	}
	n, err := b.read(p)
	switch {
	case err == nil:
	case b.whole:
		return n, io.EOF
	case c.ctx.Err() != nil:
		err = context.Cause(c.ctx)
	default:
		err = c.failure(err, true)
	}
	return n, err
}

func (b *Body) read(p []byte) (n int, err error) {
	switch {
	case b.chunks != nil:
		if n, err = b.chunks.Read(p); err == io.EOF {
			return n, b.dropTrailer()
		}
		return n, err
	case b.conn.length == UntilClose: // an end looks like a crash
		n, err = b.conn.br.Read(p)
		b.whole = err == io.EOF
		return n, err
	}
	n, err = b.conn.br.Read(p[:min(len(p), b.left)])
	b.left -= n
	b.whole = b.left == 0
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// dropTrailer reads what follows the last chunk; io.EOF if that is whole.
func (b *Body) dropTrailer() error {
	for {
		line, err := b.conn.br.ReadSlice('\n')
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			b.whole = true
			return io.EOF
		}
	}
}

// Close gives the connection back, to be kept if the whole body was read.
func (b *Body) Close() error {
	if !b.closed {
		b.closed = true
		b.conn.Release(b.whole)
	}
	return nil
}
