package listen

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Socket is a listening socket for a child. We keep it open over the child's
// deaths, so that clients which connect meanwhile wait for its successor and
// are not refused.
type Socket struct {
	net.Listener
	file *socketFile // of a Unix socket; nil of any other
}

// Open opens a listening socket at HOST:PORT or unix:PATH. flag is what a
// person would change.
func Open(address, flag string) (*Socket, error) {
	if path, ok := UnixPath(address); ok {
		return listenUnix(path, flag)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, explainListen(address, flag, err)
	}
	return &Socket{Listener: l}, nil
}

// Address is where it listens, in the words of Open.
func (s *Socket) Address() string {
	if s.file != nil {
		return unixPrefix + s.file.path
	}
	return s.Addr().String()
}

// Pass is the descriptor that children inherit. The socket lives on in it
// alone, and its file stays until Remove.
func (s *Socket) Pass() (*os.File, error) {
	f, err := s.Listener.(interface{ File() (*os.File, error) }).File()
	if err := errors.Join(err, s.Listener.Close()); err != nil {
		return nil, fmt.Errorf("listen at %s: %w", s.Address(), err)
	}
	return f, nil
}

// Remove removes the file of a Unix socket, unless it is another one by now.
func (s *Socket) Remove() error {
	if s.file == nil {
		return nil
	}
	return s.file.remove()
}

// Close implements net.Listener, and removes the file first: what nobody
// serves, nobody finds.
func (s *Socket) Close() error {
	return errors.Join(s.Remove(), s.Listener.Close())
}

// Inherited is the listening socket that a child was given as descriptor fd.
func Inherited(fd int) (net.Listener, error) {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "listener")
	if f == nil {
		return nil, fmt.Errorf("file descriptor %d: no listening socket", fd)
	}
	defer func() { _ = f.Close() }() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("file descriptor %d: no listening socket: %w", fd, err)
	}
	return l, nil
}

// FreePort checks that a child will be able to listen at address, and puts a
// port in place of port 0. It chooses below the ports that the kernel gives to
// outgoing connections, because nothing holds the port while its child is down.
func FreePort(address, flag string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q: want host:port, like 127.0.0.1:4222 (%s)", address, flag)
	}
	if port != "0" {
		return address, probe(address, flag)
	}
	for range 50 {
		address = net.JoinHostPort(host, strconv.Itoa(20000+rand.IntN(10000)))
		if err = probe(address, flag); err == nil {
			return address, nil
		}
	}
	return "", err
}

func probe(address, flag string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return explainListen(address, flag, err)
	}
	return l.Close()
}

func explainListen(address, flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("address %s is in use by another program; choose another with %s HOST:PORT (port 0 picks a free one)", address, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("address %s: not permitted; choose a port from 1024 on with %s HOST:PORT", address, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("address %s is not an address of this machine; choose another with %s HOST:PORT", address, flag)
	}
	return fmt.Errorf("listen at %s: %w; choose another with %s HOST:PORT", address, err, flag)
}
