package edge

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ringway/router/upstream"
)

// tracker knows the open connections of its listeners.
type tracker struct {
	listeners []*trackingListener
	eachWrite time.Duration // longest time of one write; 0: writes have the deadline that is set
	write     time.Duration // longest time of one write of a long answer
	mu        sync.Mutex
	open      map[*trackedConn]struct{}
}

// trackingListener is one public listener.
type trackingListener struct {
	net.Listener
	tracker *tracker
}

func newTracker(listeners []net.Listener) *tracker {
	t := &tracker{open: map[*trackedConn]struct{}{}}
	for _, l := range listeners {
		t.listeners = append(t.listeners, &trackingListener{l, t})
	}
	return t
}

// close takes no new client.
func (t *tracker) close() {
	for _, l := range t.listeners {
		_ = l.Close() // closed already, unless Serve had not begun
	}
}

// Accept implements net.Listener.
func (l *trackingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	// fasthttp would end the server for want of a descriptor.
	for pause := 5 * time.Millisecond; err != nil && (upstream.IsLocal(err) || errors.Is(err, syscall.ECONNABORTED)); pause = min(2*pause, time.Second) {
		time.Sleep(pause)
		nc, err = l.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: nc, tracker: l.tracker, eachWrite: l.tracker.eachWrite}
	l.tracker.mu.Lock()
	defer l.tracker.mu.Unlock()
	l.tracker.open[c] = struct{}{}
	return c, nil
}

// cut ends every connection, whatever it is doing.
func (t *tracker) cut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.open {
		_ = c.Conn.Close() // its user notices, and closes it properly
	}
}

func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// trackedConn is a connection from a client.
type trackedConn struct {
	net.Conn
	tracker   *tracker
	eachWrite time.Duration
	unread    atomic.Bool // what it still sends was refused
	reading   deadline
	writing   deadline
}

const lingerFor = time.Second

// Close ends the connection. If the client is still sending what was refused,
// that is read first for a moment: closing with unread bytes resets the
// connection, and the client may lose the answer that explains it.
func (c *trackedConn) Close() error {
	if c.unread.CompareAndSwap(true, false) {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			_ = c.Conn.SetReadDeadline(time.Now().Add(lingerFor)) // then the copy ends
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}
	c.tracker.mu.Lock()
	delete(c.tracker.open, c)
	c.tracker.mu.Unlock()
	return c.Conn.Close()
}
