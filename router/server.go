package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/upstream"
)

// newPublic is the server that clients talk to.
func (r *Router) newPublic() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:            r.serve,
		ErrorHandler:       r.unreadable,
		Logger:             serverLog{r.log},
		ReadBufferSize:     r.cfg.MaxHeader,
		MaxRequestBodySize: r.cfg.MaxBody,
		ReadTimeout:        r.cfg.ReadTimeout,
		WriteTimeout:       r.cfg.WriteTimeout,
		IdleTimeout:        r.cfg.IdleTimeout,
		CloseOnShutdown:    true,
		LazyRequestTime:    true,
		// A member's Server, Date and Content-Type are passed on, or their absence.
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
	}
}

// unreadable answers what could not be read as a request; the connection ends.
func (r *Router) unreadable(ctx *fasthttp.RequestCtx, err error) {
	var tooLong *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &tooLong):
		r.fail(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the header is longer than %d bytes", r.cfg.MaxHeader))
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		r.fail(ctx, fasthttp.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", r.cfg.MaxBody))
	case upstream.IsTimeout(err), errors.Is(err, fasthttp.ErrTimeout):
		r.fail(ctx, fasthttp.StatusRequestTimeout, "the request did not arrive in time")
	default:
		r.fail(ctx, fasthttp.StatusBadRequest, "the request is not HTTP")
	}
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*trackedConn); ok {
		c.unread.Store(true)
	}
	r.metrics.own.answers[4].Inc()
}

// stopPublic takes no new connection, waits for open requests, and after
// cfg.Stop ends what is left.
func (r *Router) stopPublic() {
	grace, cancel := context.WithTimeout(context.Background(), r.cfg.Stop)
	defer cancel()
	_ = r.public.ShutdownWithContext(grace) // what matters is who is left
	r.tracker.close()
	for range 10 { // a connection that has ended is forgotten a moment later
		if r.tracker.count() > 0 {
			wait(context.Background(), 10*time.Millisecond)
		}
	}
	if n := r.tracker.count(); n > 0 {
		r.log.Warn("requests are cut off at shutdown", "connections", n)
	}
	for r.tracker.count() > 0 {
		r.closeAll()
		r.tracker.cut()
		wait(context.Background(), 10*time.Millisecond)
	}
}

// stopAdmin comes last, so that a shutdown can be watched.
func (r *Router) stopAdmin() {
	if r.admin == nil {
		return
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if r.admin.Shutdown(grace) != nil {
		_ = r.admin.Close() // a profile may be running
	}
	_ = r.cfg.Admin.Close() // closed already, unless Serve had not begun
}

// closeAll ends every connection to a member, and with it the requests there.
func (r *Router) closeAll() {
	for _, u := range r.routes.Load().everyone() {
		u.pool.CloseAll()
	}
}

// serverLog takes what fasthttp has to say: faults of clients, of no interest
// one by one.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, args ...any) {
	l.log.Debug("server", events.KeyError, fmt.Sprintf(format, args...))
}
