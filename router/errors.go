package router

import (
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/answer"
	"ringway/router/upstream"
)

var errNoMember = errors.New("no server replica is alive")

// refuse answers a request that no member answered, and counts it.
func (r *Router) refuse(ctx *fasthttp.RequestCtx, begun time.Time, err error) {
	r.answerError(ctx, err)
	r.metrics.own.answers[ctx.Response.StatusCode()/100].Inc()
	r.metrics.own.duration.Observe(time.Since(begun).Seconds())
}

func (r *Router) answerError(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, errNoMember) {
		r.unavailable(ctx, err.Error())
		return
	}
	switch asFailure(err).Kind {
	case upstream.Unreachable:
		r.unavailable(ctx, "no server replica can be reached")
	case upstream.Exhausted:
		r.unavailable(ctx, "the router is out of connections")
	case upstream.Late:
		r.fail(ctx, fasthttp.StatusGatewayTimeout, "the server replica did not answer in time")
	case upstream.Garbled:
		r.fail(ctx, fasthttp.StatusBadGateway, "the server replica's answer is not HTTP")
	default:
		r.fail(ctx, fasthttp.StatusBadGateway, "the server replica ended before it answered")
	}
}

// unavailable is a fault that a client may wait out.
func (r *Router) unavailable(ctx *fasthttp.RequestCtx, why string) {
	answer.Fail(ctx, fasthttp.StatusServiceUnavailable, why)
}

// fail answers with an error of our own, in the course's form.
func (r *Router) fail(ctx *fasthttp.RequestCtx, code int, why string) { answer.Fail(ctx, code, why) }

func (r *Router) undeclared(ctx *fasthttp.RequestCtx, path []byte) {
	r.fail(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("'%s' endpoint does not exist in server replicas", path))
}

func replicasBody(replicas []string) []byte {
	type message struct {
		N        int      `json:"N"`
		Replicas []string `json:"replicas"`
	}
	if replicas == nil {
		replicas = []string{}
	}
	return answer.Marshal(struct {
		Message message `json:"message"`
		Status  string  `json:"status"`
	}{message{len(replicas), replicas}, answer.Successful})
}
