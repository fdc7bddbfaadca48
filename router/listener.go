package router

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ringway/router/upstream"
)

// clients are those at the public listeners. It knows the open connections, so
// that Run can end them, which fasthttp's server cannot.
type tracker struct {
	listeners []*trackingListener
	mu        sync.Mutex
	open      map[*trackedConn]struct{}
}

// trackingListener is one public listener.
type trackingListener struct {
	net.Listener
	all *tracker
}

func newTracker(listeners []net.Listener) *tracker {
	cs := &tracker{open: map[*trackedConn]struct{}{}}
	for _, l := range listeners {
		cs.listeners = append(cs.listeners, &trackingListener{l, cs})
	}
	return cs
}

// close takes no new client.
func (cs *tracker) close() {
	for _, d := range cs.listeners {
		_ = d.Close() // closed already, unless Serve had not begun
	}
}

// Accept implements net.Listener.
func (d *trackingListener) Accept() (net.Conn, error) {
	nc, err := d.Listener.Accept()
	// fasthttp would end the server for want of a descriptor.
	for pause := 5 * time.Millisecond; err != nil && (upstream.IsLocal(err) || errors.Is(err, syscall.ECONNABORTED)); pause = min(2*pause, time.Second) {
		wait(context.Background(), pause)
		nc, err = d.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: nc, all: d.all}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	d.all.open[c] = struct{}{}
	return c, nil
}

// cut ends every connection, whatever it is doing.
func (cs *tracker) cut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		_ = c.Conn.Close() // its user notices, and closes it properly
	}
}

func (cs *tracker) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

// client is a connection from a client.
type trackedConn struct {
	net.Conn
	all     *tracker
	unread  atomic.Bool // what it still sends was refused
	reading deadline
	writing deadline
}

const lingerFor = time.Second

// Close ends the connection. If the client is still sending what was refused,
// that is read first for a moment: closing with unread bytes resets the
// connection, and the client may lose the answer that says why.
func (c *trackedConn) Close() error {
	if c.unread.CompareAndSwap(true, false) {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_ = c.Conn.SetReadDeadline(time.Now().Add(lingerFor)) // then the copy ends
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
