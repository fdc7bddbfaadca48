package events

import (
	"errors"
	"fmt"
)

// Errors that cross package borders. Test them with errors.Is.
var (
	// ErrConflict: a compare-and-set lost against another writer.
	ErrConflict = errors.New("another writer was first")
	// ErrNotFound: no such key, instance, service or stream.
	ErrNotFound = errors.New("not found")
	// ErrRefused: the bus does not store this value, and will not if it is asked again.
	ErrRefused = errors.New("the bus refuses it")
	// ErrNoLeader: nobody answers ringway.api, or the bus is away.
	ErrNoLeader = errors.New("no controller answers")
	// ErrUnknownOutcome: the request was sent but its answer never came.
	ErrUnknownOutcome = errors.New("outcome unknown")
)

// StatusError is a request that was understood and declined; nothing changed.
// Code is an HTTP status (400, 404, 409, 503), Message is for people.
type StatusError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`

	cause error
}

func (r *StatusError) Error() string { return r.Message }

// With gives r a cause to decide by, with errors.Is. It is not sent.
func (r *StatusError) With(cause error) *StatusError {
	r.cause = cause
	return r
}

// Unwrap is the cause; nil if there is none.
func (r *StatusError) Unwrap() error { return r.cause }

// Status is what clients are answered: the code, or 400 if that is no failure.
func (r *StatusError) Status() int {
	if r.Code < 400 || r.Code > 599 {
		return 400
	}
	return r.Code
}

// StatusErrorf builds a StatusError.
func StatusErrorf(code int, format string, args ...any) *StatusError {
	return &StatusError{Code: code, Message: fmt.Sprintf(format, args...)}
}
