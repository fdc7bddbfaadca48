package edge

import (
	"cmp"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// deadline is one that a server moves on at every request, and that hardly ever
// passes. Setting one changes the runtime's timers, so the one that is set stays
// while it is early enough. When it passes before the wanted one, the wanted one
// is set, and whoever was waiting goes on.
type deadline struct {
	mu     sync.Mutex
	wanted time.Time // zero: none
	set    time.Time // no later than wanted; zero: none
}

// move wants t, and has set called if that cannot wait.
func (d *deadline) move(t time.Time, c *trackedConn, set func(*trackedConn, time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || !d.set.IsZero() && !t.Before(d.set) {
		return nil
	}
	d.set = t
	return set(c, t)
}

// early reports whether err is of a deadline that nobody wants any more. The
// wanted one is set then.
func (d *deadline) early(err error, c *trackedConn, set func(*trackedConn, time.Time) error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.wanted.IsZero() && !time.Now().Before(d.wanted) {
		return false
	}
	d.set = d.wanted
	return set(c, d.wanted) == nil
}

func setRead(c *trackedConn, t time.Time) error  { return c.Conn.SetReadDeadline(t) }
func setWrite(c *trackedConn, t time.Time) error { return c.Conn.SetWriteDeadline(t) }

// Read implements net.Conn.
func (c *trackedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err == nil || n > 0 || !c.reading.early(err, c, setRead) {
			return n, err
		}
	}
}

// LongAnswer has the answer to a request take as long as its client goes on
// taking some of it: the server's WriteTimeout is that of each write until done.
func LongAnswer(ctx *fasthttp.RequestCtx) (done func()) {
	c, ok := ctx.Conn().(*trackedConn)
	if !ok {
		return func() {}
	}
	c.eachWrite = cmp.Or(c.eachWrite, c.tracker.write)
	return func() { c.eachWrite = c.tracker.eachWrite }
}

// Write implements net.Conn. Only the goroutine that serves the connection writes.
func (c *trackedConn) Write(p []byte) (done int, err error) {
	for {
		if d := c.eachWrite; d > 0 {
			if err := c.SetWriteDeadline(time.Now().Add(d)); err != nil {
				return done, err
			}
		}
		n, err := c.Conn.Write(p[done:])
		done += n
		goesOn := n > 0 && c.eachWrite > 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if err == nil || !goesOn && !c.writing.early(err, c, setWrite) {
			return done, err
		}
	}
}

// SetReadDeadline implements net.Conn.
func (c *trackedConn) SetReadDeadline(t time.Time) error { return c.reading.move(t, c, setRead) }

// SetWriteDeadline implements net.Conn.
func (c *trackedConn) SetWriteDeadline(t time.Time) error { return c.writing.move(t, c, setWrite) }

// SetDeadline implements net.Conn.
func (c *trackedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
