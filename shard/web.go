package shard

import (
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/edge"
)

// newClients is the side towards routers, other shard servers and people.
func (s *Server) newClients() *edge.Server {
	cfg := edge.Config{
		MaxHeader: 4 << 10, MaxBody: s.cfg.MaxBody, ReadTimeout: s.cfg.WriteTimeout, IdleTimeout: 2 * time.Minute,
		WriteTimeout: s.cfg.WriteTimeout, EachWrite: true, Stop: s.cfg.Stop,
	}
	handle := func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.SetNoDefaultContentType(false)
		s.serve(ctx)
	}
	return edge.NewServer(cfg, []net.Listener{s.cfg.Listener}, handle, unreadable, s.log)
}

// unreadable answers what could not be read as a request.
func unreadable(ctx *fasthttp.RequestCtx, code int, _ string) {
	why := "the body is too long"
	if code != http.StatusRequestEntityTooLarge {
		code, why = http.StatusBadRequest, "the request is not HTTP"
	}
	assignmentFail(ctx, events.StatusErrorf(code, "%s", why))
}
