package router

import (
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/upstream"
)

// serve answers one request. This is the hot path: it neither locks nor logs
// nor allocates; TestServeAllocs holds it to that.
func (r *Router) serve(ctx *fasthttp.RequestCtx) {
	begun := time.Now()
	rt := r.routes.Load()
	if !r.admit(ctx, rt) {
		return // it has its answer
	}
	hash := rt.service.key.hash(ctx)

	rt, u := r.enter(rt, hash)
	if u == nil {
		r.refuse(ctx, begun, errNoMember)
		return
	}
	req := upstream.Request{
		Head: &ctx.Request.Header, Body: ctx.Request.Body(), Deadline: begun.Add(rt.service.timeout),
		Repeatable: idempotent(&ctx.Request.Header), Budget: u,
	}
	r.budget.earn()
	err := u.exchange(ctx, &req)
	if err != nil {
		u, err = r.retry(ctx, rt, hash, u, err, &req) // Slow path
	}
	if err != nil {
		r.refuse(ctx, begun, err)
		return
	}
	cleanAnswer(&ctx.Response)
	u.count(ctx.Response.StatusCode(), begun)
	if !ctx.Response.IsBodyStream() {
		u.leave() // a streamed answer leaves when it is closed
	}
}

// enter picks the member for a hash and counts the request in there. The
// snapshot is looked at again after counting: either the counter's readers see
// this request, or this request sees their newer snapshot. So a heartbeat that
// names an epoch and nothing in flight at a draining member can be believed.
func (r *Router) enter(rt *routes, hash uint64) (*routes, *member) {
	for {
		if rt.service == nil {
			return rt, nil
		}
		slot := rt.service.table.Slot(hash)
		i := rt.service.table.Owner(slot)
		if i < 0 || !rt.service.members[i].up() || rt.service.full(i) {
			i = rt.service.choose(slot, nil) // Slow path
		}
		if i < 0 {
			return rt, nil
		}
		u := rt.service.members[i]
		u.enter()
		now := r.routes.Load()
		if now == rt {
			return rt, u
		}
		u.leave()
		rt = now
	}
}
