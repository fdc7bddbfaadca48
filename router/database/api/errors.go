// Package api turns errors into the answers of the tables' endpoints.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// Fail answers with an error, if there is one.
func Fail(ctx *fasthttp.RequestCtx, err error) {
	if err == nil {
		return
	}
	code, why := Explain(err)
	answer.Fail(ctx, code, why)
}

// BadRequest is an error of the client's.
func BadRequest(format string, args ...any) error {
	return events.StatusErrorf(http.StatusBadRequest, format, args...)
}

// Explain is the status code and the message of an error.
func Explain(err error) (int, string) {
	var statusErr *events.StatusError
	switch {
	case errors.As(err, &statusErr):
		return statusErr.Status(), statusErr.Message
	case errors.Is(err, events.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, "no answer in time: " + err.Error()
	}
	return http.StatusServiceUnavailable, err.Error()
}

// Undecided is err, of a request to the leader, as clients get it; look is where
// they see what became of it.
func Undecided(err error, look string) error {
	var statusErr *events.StatusError
	switch {
	case err == nil, errors.As(err, &statusErr):
		return err
	case errors.Is(err, events.ErrNoLeader):
		return events.StatusErrorf(http.StatusServiceUnavailable, "no controller answers; nothing was changed, try again")
	}
	return events.StatusErrorf(http.StatusGatewayTimeout, "no answer from the controller: it may or may not happen; look at %s", look)
}

// Within adds where in a request an error is.
func Within(where string, err error) error {
	var statusErr *events.StatusError
	if errors.As(err, &statusErr) {
		return events.StatusErrorf(statusErr.Code, "%s: %s", where, statusErr.Message).With(statusErr)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// Unavailable is the error of a read that cannot be answered now. It may be tried
// again, whatever the reason.
func Unavailable(err error) error {
	return events.StatusErrorf(http.StatusServiceUnavailable, "%s", err)
}
