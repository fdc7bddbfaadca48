package proxy

import (
	"fmt"
	"net/http"
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
	p.toMember(ctx, found)
	hash := snap.service.key.hash(ctx) // of the fields that the member gets: X-Forwarded-For may be the key

	snap, m := p.enter(snap, hash, nil)
	if m == nil {
		p.refuse(ctx, begun, errNoMember)
		return
	}
	req := upstream.Request{
		Head: &ctx.Request.Header, Body: ctx.Request.Body(), Deadline: begun.Add(snap.service.timeout),
		Repeatable: idempotent(&ctx.Request.Header), Budget: m,
	}
	p.budget.deposit()
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
			answer.Fail(ctx, http.StatusBadRequest, fmt.Sprintf("'%s' endpoint does not exist in server replicas", path))
			return false
		}
	}
	return true
}
