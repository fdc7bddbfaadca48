// Package edge is the side towards clients: listeners, limits, deadlines, and
// what may be passed on between two connections.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/upstream"
)

// Config is what can be tuned.
type Config struct {
	MaxHeader int // bytes of a request's header; 431 beyond
	MaxBody   int // bytes of a request's body, held in memory so that it can be sent again; 413 beyond

	ReadTimeout  time.Duration // a client's whole request; 408 beyond
	WriteTimeout time.Duration // a client taking its whole answer, or, with EachWrite, some of it
	EachWrite    bool          // answers may be of any length: WriteTimeout is of each write
	IdleTimeout  time.Duration // a client's connection between two requests
	Stop         time.Duration // open requests may take this long to end at shutdown
}

// Server serves clients at some listeners. It knows the open connections, so
// that Stop can end them, which fasthttp's server cannot.
type Server struct {
	cfg     Config
	http    *fasthttp.Server
	tracker *tracker
	refuse  func(ctx *fasthttp.RequestCtx, code int, why string)
	log     *slog.Logger
}

// NewServer serves requests with handle. What cannot be read as a request is
// answered by refuse, and its connection ends.
func NewServer(cfg Config, listeners []net.Listener, handle fasthttp.RequestHandler, refuse func(ctx *fasthttp.RequestCtx, code int, why string), log *slog.Logger) *Server {
	s := &Server{cfg: cfg, tracker: newTracker(listeners), refuse: refuse, log: log}
	s.tracker.write = cfg.WriteTimeout
	if cfg.EachWrite {
		s.tracker.eachWrite, cfg.WriteTimeout = cfg.WriteTimeout, 0
	}
	s.http = &fasthttp.Server{
		Handler:            handle,
		ErrorHandler:       s.unreadable,
		Logger:             serverLog{log},
		ReadBufferSize:     cfg.MaxHeader,
		MaxRequestBodySize: cfg.MaxBody,
		ReadTimeout:        cfg.ReadTimeout,
		WriteTimeout:       cfg.WriteTimeout,
		IdleTimeout:        cfg.IdleTimeout,
		CloseOnShutdown:    true,
		LazyRequestTime:    true,
		// A member's Server, Date and Content-Type are passed on, or their absence.
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
	}
	return s
}

// Serve takes clients at all listeners until Stop. It calls failed when a
// listener fails, and returns when all have ended.
func (s *Server) Serve(failed func(error)) {
	var serving sync.WaitGroup
	for _, l := range s.tracker.listeners {
		serving.Go(func() {
			if err := s.http.Serve(l); err != nil {
				failed(fmt.Errorf("serve clients: %w", err))
			}
		})
	}
	serving.Wait()
}

// unreadable answers what could not be read as a request; the connection ends.
func (s *Server) unreadable(ctx *fasthttp.RequestCtx, err error) {
	var tooLong *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &tooLong):
		s.refuse(ctx, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the header is longer than %d bytes", s.cfg.MaxHeader))
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.refuse(ctx, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", s.cfg.MaxBody))
	case upstream.IsTimeout(err), errors.Is(err, fasthttp.ErrTimeout):
		s.refuse(ctx, http.StatusRequestTimeout, "the request did not arrive in time")
	default:
		s.refuse(ctx, http.StatusBadRequest, "the request is not HTTP")
	}
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*trackedConn); ok {
		c.unread.Store(true)
	}
}

// Stop takes no new connection, waits for open requests, and after cfg.Stop
// ends what is left: it calls cut, which ends what requests wait for, until no
// connection is left.
func (s *Server) Stop(cut func()) {
	grace, cancel := context.WithTimeout(context.Background(), s.cfg.Stop)
	defer cancel()
	_ = s.http.ShutdownWithContext(grace) // what matters is who is left
	s.tracker.close()
	for range 10 { // a connection that has ended is forgotten a moment later
		if s.tracker.count() > 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if n := s.tracker.count(); n > 0 {
		s.log.Warn("requests are cut off at shutdown", "connections", n)
	}
	for s.tracker.count() > 0 {
		cut()
		s.tracker.cut()
		time.Sleep(10 * time.Millisecond)
	}
}

// serverLog takes fasthttp's messages: faults of clients, of no interest one by
// one.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, args ...any) {
	l.log.Debug("server", events.KeyError, fmt.Sprintf(format, args...))
}
