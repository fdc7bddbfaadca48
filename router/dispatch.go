package router

import (
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/database"
	"ringway/router/edge"
	"ringway/router/proxy"
)

// owner is who answers a request.
type owner int

const (
	ofService    owner = iota // a member of the service
	ofAssignment              // the API of the load balancer: /rep, /add, /rm
	ofDatabase                // the endpoints of tables
)

// dispatch answers one request of a client. Whoever answers it, one snapshot of
// the routes decides.
func (r *Router) dispatch(ctx *fasthttp.RequestCtx) {
	begun := time.Now()
	snap := r.proxy.Snapshot()
	fields, ok := edge.Admit(ctx)
	if !ok {
		return // it has its answer
	}
	path := edge.Path(&ctx.Request.Header)
	switch r.ownerOf(path, snap) {
	case ofAssignment:
		name, rep := snap.Default()
		r.assignment.Serve(ctx, path, name, rep)
	case ofDatabase:
		r.database.Serve(ctx, path)
	default:
		r.proxy.Serve(ctx, snap, fields, begun)
	}
}

// ownerOf is who answers a path. The assignments' paths and /init are reserved;
// what else tables have may be the service's: see Snapshot.Takes. The admin
// endpoints have a listener of their own: see newAdmin.
func (r *Router) ownerOf(path []byte, snap *proxy.Snapshot) owner {
	switch string(path) {
	case "/rep", "/add", "/rm":
		return ofAssignment
	case "/init":
		return ofDatabase
	}
	if database.Owns(path) && !snap.Takes(path, !r.database.Empty()) {
		return ofDatabase
	}
	return ofService
}
