package testkit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ringway/internal/filelock"
)

// The ports of Address: below those that the kernel gives to listeners at port
// 0 and to outgoing connections, and beside those of instances.
const firstPort, lastPort = 10_000, 19_999

// Address is a local address that is free, and stays the test's until it ends,
// also while nobody listens there. What is to be found again after a restart
// needs one: a port of the kernel's choice may meanwhile be another test's, or
// the near end of some connection.
func Address(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "ringway-test-ports")
	Must(t, os.MkdirAll(dir, 0o777))
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		lock, err := filelock.Try(filepath.Join(dir, fmt.Sprint(port)), 0o666)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue // another test has it
		}
		Must(t, err)
		address := fmt.Sprint("127.0.0.1:", port)
		l, err := net.Listen("tcp", address)
		if err != nil {
			_ = lock.Close() // a program that knows nothing of this has it
			continue
		}
		_ = l.Close() // for whoever is to listen there
		t.Cleanup(func() { _ = lock.Close() })
		return address
	}
	t.Fatalf("no port from %d to %d is free", firstPort, lastPort)
	return ""
}
