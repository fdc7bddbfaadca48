package shard

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// web is the HTTP server. It knows the open connections, which fasthttp's server
// cannot end. It is not router/edge's: an answer may be as long as a shard, so what
// is limited is a pause of the client, not the whole answer.
type web struct {
	net.Listener
	s    *Server
	http *fasthttp.Server

	mu   sync.Mutex
	open map[*client]struct{}
}

func newWeb(s *Server) *web {
	w := &web{Listener: s.cfg.Listener, s: s, open: map[*client]struct{}{}}
	w.http = &fasthttp.Server{
		Handler:            s.serve,
		ErrorHandler:       badRequest,
		Logger:             discardLog{},
		MaxRequestBodySize: s.cfg.MaxBody,
		ReadTimeout:        s.cfg.WriteTimeout,
		IdleTimeout:        2 * time.Minute,
		CloseOnShutdown:    true,

		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		DisablePreParseMultipartForm: true,
		SecureErrorLogMessage:        true,
	}
	return w
}

func (w *web) serve() error { return w.http.Serve(w) }

// stop takes no new request, waits for open ones and closes what is left.
func (w *web) stop(patience time.Duration) {
	grace, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = w.http.ShutdownWithContext(grace) // what matters is who is left
	_ = w.Close()                         // closed already, unless Serve had not begun
	for w.cut() {
		pause(context.Background(), 10*time.Millisecond)
	}
}

// cut closes every connection and reports whether there were any.
func (w *web) cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Conn.Close() // its user notices, and closes it properly
	}
	return len(w.open) > 0
}

// Accept implements net.Listener.
func (w *web) Accept() (net.Conn, error) {
	nc, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &client{Conn: nc, web: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[c] = struct{}{}
	return c, nil
}

// client is a connection of a client. Its deadline moves with each write.
type client struct {
	net.Conn
	web *web
}

// Write implements net.Conn.
func (c *client) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.web.s.cfg.WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *client) Close() error {
	c.web.mu.Lock()
	delete(c.web.open, c)
	c.web.mu.Unlock()
	return c.Conn.Close()
}

// discardLog drops fasthttp's messages: they are about faults of single clients.
type discardLog struct{}

func (discardLog) Printf(string, ...any) {}

// badRequest answers what could not be read as a request; the connection ends.
func badRequest(ctx *fasthttp.RequestCtx, err error) {
	code, why := http.StatusBadRequest, "the request is not HTTP"
	if err == fasthttp.ErrBodyTooLarge { //nolint:errorlint // as fasthttp gives it
		code, why = http.StatusRequestEntityTooLarge, "the body is too long"
	}
	assignmentFail(ctx, events.StatusErrorf(code, "%s", why))
	ctx.SetConnectionClose()
}
