package agent

import (
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/internal/testkit"
)

// deaf is an address that answers no more attempts to connect.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	testkit.Must(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	testkit.Must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	testkit.Must(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	testkit.Must(t, err)
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 10 { // nobody accepts
		c, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("this system lets everybody in")
	return ""
}

// The host of an instance may be gone, and its address answer nothing.
func TestProbe_LeavesNoAttemptBehind(t *testing.T) {
	address := deaf(t)
	before := goleak.IgnoreCurrent()
	if err := probeOnce(t.Context(), prober(50*time.Millisecond), address, "/heartbeat", 50*time.Millisecond); err == nil {
		t.Error("it answered")
	}
	if err := goleak.Find(before); err != nil { // it waits for them a while
		t.Error(err)
	}
}
