package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"ringway/events"
)

// Exit codes.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2   // the command line or the configuration is wrong; nothing was started or sent
	ExitNobody      = 3   // nobody answers: no bus, or no controller
	ExitRefused     = 4   // understood and declined; nothing changed
	ExitUnknown     = 5   // sent, but the answer never came: it may have happened
	ExitInterrupted = 130 // by ctrl-C before it was done
)

// exitError carries an exit code; without err there is nothing to print.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Exit ends a command with a code. err may be nil: then nothing is printed.
func Exit(code int, err error) error { return &exitError{code, err} }

// Silent reports whether err is an exit code alone.
func Silent(err error) bool {
	var e *exitError
	return errors.As(err, &e) && e.err == nil
}

// Usage is an error of the person at the keyboard.
func Usage(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// ExitCode is that of a command which ended with err.
func ExitCode(err error) int {
	var e *exitError
	var statusErr *events.StatusError
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &statusErr) && statusErr.Code == http.StatusGatewayTimeout:
		return ExitUnknown // begun, and goes on
	case errors.As(err, &statusErr):
		return ExitRefused
	case errors.Is(err, events.ErrUnknownOutcome):
		return ExitUnknown
	case errors.Is(err, events.ErrNoLeader):
		return ExitNobody
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailed
}

// NoArgs is for commands without any, which are no group of others.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much; '%s' takes only flags", args[0], cmd.CommandPath())
	}
	return nil
}
