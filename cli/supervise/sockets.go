package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Listen opens a listening socket for a child. We keep it open over the
// child's deaths, so that clients which connect meanwhile wait for its
// successor and are not refused. flag is what a person would change.
func Listen(address, flag string) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, explainListen(address, flag, err)
	}
	return l.(*net.TCPListener), nil
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
