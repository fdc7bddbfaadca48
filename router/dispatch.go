package router

import (
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/database"
	"ringway/router/edge"
)

// dispatch answers one request of a client. Whoever answers it, one snapshot of
// the routes decides. The assignments' paths and /init are reserved; what else
// tables have may be the service's: see Snapshot.Takes. The admin endpoints have a
// listener of their own: see newAdmin.
func (r *Router) dispatch(ctx *fasthttp.RequestCtx) {
	begun := time.Now()
	snap := r.proxy.Snapshot()
	fields, ok := edge.Admit(ctx)
	if !ok {
		return // it has its answer
	}
	path := edge.Path(&ctx.Request.Header)
	switch string(path) {
	case "/rep", "/add", "/rm":
		name, rep := snap.Default()
		r.assignment.Serve(ctx, path, name, rep)
		return
	case "/init":
		r.database.Serve(ctx, path)
		return
	}
	if database.Owns(path) && !snap.Takes(path, !r.database.Empty()) {
		r.database.Serve(ctx, path)
		return
	}
	r.proxy.Serve(ctx, snap, fields, begun)
}
