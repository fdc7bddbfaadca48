package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

var errNoMember = errors.New("no server replica is alive")

// Status words of the course API.
const (
	successful = "successful"
	failed     = "failure"
)

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
	switch asFailure(err).kind {
	case unreachable:
		r.unavailable(ctx, "no server replica can be reached")
	case exhausted:
		r.unavailable(ctx, "the router is out of connections")
	case late:
		r.fail(ctx, fasthttp.StatusGatewayTimeout, "the server replica did not answer in time")
	case garbled:
		r.fail(ctx, fasthttp.StatusBadGateway, "the server replica's answer is not HTTP")
	default:
		r.fail(ctx, fasthttp.StatusBadGateway, "the server replica ended before it answered")
	}
}

// unavailable is a fault that a client may wait out.
func (r *Router) unavailable(ctx *fasthttp.RequestCtx, why string) {
	r.fail(ctx, fasthttp.StatusServiceUnavailable, why)
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
}

// fail answers with an error of our own, in the form of SPEC.md.
func (r *Router) fail(ctx *fasthttp.RequestCtx, code int, why string) {
	ctx.Response.Reset() // a member's half answer may be in it
	answerJSON(ctx, code, failureBody(why))
}

func (r *Router) undeclared(ctx *fasthttp.RequestCtx, path []byte) {
	r.fail(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("'%s' endpoint does not exist in server replicas", path))
}

func answerJSON(ctx *fasthttp.RequestCtx, code int, body []byte) {
	ctx.Response.Header.SetNoDefaultContentType(false)
	ctx.Response.SetStatusCode(code)
	ctx.Response.Header.SetContentType("application/json")
	ctx.Response.SetBody(body)
}

func failureBody(why string) []byte {
	return mustJSON(struct {
		Message string `json:"message"`
		Status  string `json:"status"`
	}{"<Error> " + why, failed})
}

func replicasBody(replicas []string) []byte {
	type message struct {
		N        int      `json:"N"`
		Replicas []string `json:"replicas"`
	}
	if replicas == nil {
		replicas = []string{}
	}
	return mustJSON(struct {
		Message message `json:"message"`
		Status  string  `json:"status"`
	}{message{len(replicas), replicas}, successful})
}

// mustJSON writes v with <, > and & as they are: SPEC.md spells "<Error>".
func mustJSON(v any) []byte {
	var b jsonBuffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("BUG: answer cannot be JSON: " + err.Error())
	}
	return b[:len(b)-1]
}

type jsonBuffer []byte

func (b *jsonBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
