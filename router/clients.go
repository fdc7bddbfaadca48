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
)

// clients is the public listener. It knows the open connections, so that Run
// can end them, which fasthttp's server cannot.
type clients struct {
	net.Listener
	mu   sync.Mutex
	open map[*client]struct{}
}

func newClients(l net.Listener) *clients {
	return &clients{Listener: l, open: map[*client]struct{}{}}
}

// Accept implements net.Listener.
func (cs *clients) Accept() (net.Conn, error) {
	nc, err := cs.Listener.Accept()
	// fasthttp would end the server for want of a descriptor.
	for pause := 5 * time.Millisecond; err != nil && (isLocal(err) || errors.Is(err, syscall.ECONNABORTED)); pause = min(2*pause, time.Second) {
		wait(context.Background(), pause)
		nc, err = cs.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	c := &client{Conn: nc, all: cs}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[c] = struct{}{}
	return c, nil
}

// cut ends every connection, whatever it is doing.
func (cs *clients) cut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		_ = c.Conn.Close() // its user notices, and closes it properly
	}
}

func (cs *clients) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

// client is a connection from a client.
type client struct {
	net.Conn
	all     *clients
	unread  atomic.Bool // what it still sends was refused
	reading deadline
	writing deadline
}

const lingerFor = time.Second

// Close ends the connection. If the client is still sending what was refused,
// that is read first for a moment: closing with unread bytes resets the
// connection, and the client may lose the answer that says why.
func (c *client) Close() error {
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
