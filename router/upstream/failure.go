package upstream

import (
	"errors"
	"syscall"
)

// Failure is why a request got no answer.
type Failure struct {
	Kind Kind
	Err  error
}

// Kind is what a failure means for another attempt.
type Kind int

// Kinds of failures.
const (
	Unreachable Kind = iota // no connection, by the server's fault; nothing was sent
	Exhausted               // no connection, by this machine's fault; nothing was sent
	Stale                   // a kept connection ended before any byte of the answer
	Broken                  // a fresh one did, or any within the answer
	Late                    // no whole answer in time
	Garbled                 // an answer that is not HTTP
)

// ErrAbandoned is of a request that Pool.Abandon gave up.
var ErrAbandoned = errors.New("the server left the route before it answered")

var (
	errNoTime = errors.New("no time is left")
	// errEnded is of a connection that the other end closed while nobody used
	// it. Nothing was sent.
	errEnded = errors.New("the connection had ended")
)

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// kindOfDialError is why a connection could not be made; hurried if less
// time was left than a connection is given.
func kindOfDialError(err error, hurried bool) Kind {
	switch {
	case hurried && IsTimeout(err):
		return Late
	case IsLocal(err):
		return Exhausted
	}
	return Unreachable
}

// IsLocal reports whether an error is of this machine: the server must not
// be ejected for our lack of descriptors or ports.
func IsLocal(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EACCES} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// IsTimeout reports whether an error is of a deadline.
func IsTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
