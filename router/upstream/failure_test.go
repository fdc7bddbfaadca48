package upstream

import (
	"net"
	"os"
	"syscall"
	"testing"
)

// Being out of descriptors is no fault of the member.
func TestKindOfDialError(t *testing.T) {
	f := func(err error, hurried bool, want Kind) {
		t.Helper()
		if got := kindOfDialError(&net.OpError{Op: "dial", Err: err}, hurried); got != want {
			t.Errorf("%v, hurried %v: got %d, want %d", err, hurried, got, want)
		}
	}
	f(syscall.EMFILE, false, Exhausted)
	f(syscall.EADDRNOTAVAIL, false, Exhausted)
	f(syscall.ECONNREFUSED, false, Unreachable)
	f(syscall.EHOSTUNREACH, true, Unreachable)
	f(os.ErrDeadlineExceeded, false, Unreachable)
	f(os.ErrDeadlineExceeded, true, Late)
}
