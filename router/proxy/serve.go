package proxy

import (
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/answer"
	"ringway/router/edge"
	"ringway/router/upstream"
)

// Serve forwards a request that edge.Admit let pass, and answers it. This is the
// hot path: it neither locks nor logs nor allocates; TestServeAllocs holds it
// to that.
func (p *Proxy) Serve(ctx *fasthttp.RequestCtx, snap *Snapshot, found edge.Fields, begun time.Time) {
	if !snap.forwards(ctx) {
		return // it has its answer
	}
	hash := snap.service.key.hash(ctx)
	p.toMember(ctx, found)

	snap, m := p.enter(snap, hash)
	if m == nil {
		p.refuse(ctx, begun, errNoMember)
		return
	}
	req := upstream.Request{
		Head: &ctx.Request.Header, Body: ctx.Request.Body(), Deadline: begun.Add(snap.service.timeout),
		Repeatable: idempotent(&ctx.Request.Header), Budget: m,
	}
	p.budget.earn()
	err := m.exchange(ctx, &req)
	if err != nil {
		m, err = p.retry(ctx, snap, hash, m, err, &req) // Slow path
	}
	if err != nil {
		p.refuse(ctx, begun, err)
		return
	}
	edge.StripAnswer(&ctx.Response)
	m.count(ctx.Response.StatusCode(), begun)
	if !ctx.Response.IsBodyStream() {
		m.leave() // a streamed answer leaves when it is closed
	}
}

// forwards reports whether the path is one of the service's, and else answers.
func (s *Snapshot) forwards(ctx *fasthttp.RequestCtx) bool {
	if s.service == nil {
		answerError(ctx, errNoMember)
		return false
	}
	if len(s.service.paths) > 0 {
		path := edge.Path(&ctx.Request.Header)
		if _, declared := s.service.paths[string(path)]; !declared {
			answer.Fail(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("'%s' endpoint does not exist in server replicas", path))
			return false
		}
	}
	return true
}

// enter picks the member for a hash and counts the request in there. The
// snapshot is looked at again after counting: either the counter's readers see
// this request, or this request sees their newer snapshot. So a heartbeat that
// names an epoch and nothing in flight at a draining member can be believed.
func (p *Proxy) enter(snap *Snapshot, hash uint64) (*Snapshot, *member) {
	for {
		if snap.service == nil {
			return snap, nil
		}
		slot := snap.service.table.Slot(hash)
		i := snap.service.table.Owner(slot)
		if i < 0 || !snap.service.members[i].up() || snap.service.full(i) {
			i = snap.service.choose(slot, nil) // Slow path
		}
		if i < 0 {
			return snap, nil
		}
		m := snap.service.members[i]
		m.enter()
		now := p.snapshot.Load()
		if now == snap {
			return snap, m
		}
		m.leave()
		snap = now
	}
}
