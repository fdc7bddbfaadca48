//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long all clients together may be without an answer.
const patience = time.Minute

// loop is clients with a connection each, all of them in one goroutine that
// asks the kernel who was answered, as wrk does it: the processors are shared
// with who is measured. With a goroutine for each client, an op cost the load
// generator half as much again: 6 µs in place of 4.
type loop struct {
	poll     int // its epoll
	clients  []*client
	patience time.Duration
}

var _ Crew = (*loop)(nil)

// HTTPClients connects n clients to a server at a base URL or unix:PATH. An
// answer has to contain want.
func HTTPClients(ctx context.Context, base string, n int, path string, body func(to []byte, key int64) []byte, want string) (*loop, error) {
	network, address := "tcp", strings.TrimPrefix(base, "http://")
	if socket, ok := strings.CutPrefix(base, "unix:"); ok {
		network, address = "unix", socket
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{poll: poll, patience: patience}
	for range n {
		c := newClient(path, body, want)
		if c.socket, err = connect(ctx, network, address); err != nil {
			l.Close()
			return nil, err
		}
		l.clients = append(l.clients, c)
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, c.socket, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(l.clients) - 1)}); err != nil {
			l.Close()
			return nil, fmt.Errorf("epoll: %w", err)
		}
	}
	return l, nil
}

// connect is a socket that Go's own poller knows nothing of.
func connect(ctx context.Context, network, address string) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // what is returned is a copy
	raw, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return 0, err
	}
	defer func() { _ = raw.Close() }() // as above
	socket, err := unix.FcntlInt(raw.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return socket, unix.SetNonblock(socket, true)
}

func (l *loop) Close() {
	for _, c := range l.clients {
		_ = unix.Close(c.socket) // nothing is in flight
	}
	_ = unix.Close(l.poll) // as above
}

// Drive implements crew.
func (l *loop) Drive(ctx context.Context, next func() (key int64, ok bool), atMost time.Duration) (Load, error) {
	began := time.Now()
	took := make([]time.Duration, 0, 1<<18)
	open := 0
	begin := func(c *client, now time.Time) error {
		key, ok := next()
		if !ok {
			return nil
		}
		open++
		c.since = now
		return l.send(c, key)
	}
	for _, c := range l.clients {
		if err := begin(c, time.Now()); err != nil {
			return Load{}, err
		}
	}
	lastAnswer := began
	for events := make([]unix.EpollEvent, len(l.clients)); open > 0; {
		n, err := l.wait(events)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return Load{}, fmt.Errorf("epoll: %w", err)
		}
		now := time.Now()
		switch {
		case n > 0:
			lastAnswer = now
		case ctx.Err() != nil:
			return Load{}, ctx.Err()
		case now.Sub(lastAnswer) >= l.patience:
			return Load{}, fmt.Errorf("%d requests have no answer: %w", open, os.ErrDeadlineExceeded)
		}
		for _, event := range events[:max(n, 0)] {
			c := l.clients[event.Fd]
			done, err := l.receive(c)
			if err != nil {
				return Load{}, err
			}
			if !done {
				continue
			}
			now := time.Now()
			took = append(took, now.Sub(c.since))
			open--
			if now.Sub(began) >= atMost || ctx.Err() != nil {
				continue
			}
			if err := begin(c, now); err != nil {
				return Load{}, err
			}
		}
	}
	spent := time.Since(began)
	slices.Sort(took)
	return Load{Ops: len(took), Took: took, Spent: spent}, ctx.Err()
}

func (l *loop) send(c *client, key int64) error {
	request := c.ask(key)
	n, err := call(unix.SYS_WRITE, c.socket, request)
	if err == nil && n < len(request) { // a socket takes much more
		err = fmt.Errorf("%d of %d bytes sent", n, len(request))
	}
	if err != nil {
		return c.failed(err)
	}
	return nil
}

// receive reports whether the answer of a client is whole.
func (l *loop) receive(c *client) (bool, error) {
	n, err := call(unix.SYS_READ, c.socket, c.free())
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, c.failed(err)
	}
	return c.came(n)
}

// wait is epoll's. Go's runtime does not know that this blocks, nor of call: it
// would give the processor of the loop to another thread each time, and take it
// back, which is a sixth of what an op costs the load generator.
func (l *loop) wait(events []unix.EpollEvent) (int, error) {
	atMost := min(l.patience, time.Second).Milliseconds()
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(atMost), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// call reads from a socket or writes to it.
func call(which uintptr, socket int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(which, uintptr(socket), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
