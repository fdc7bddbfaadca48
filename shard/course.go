package shard

import (
	"errors"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// serveCourse answers the calls of the course, which name no table and no log.
func (s *Server) serveCourse(ctx *fasthttp.RequestCtx, path string) {
	courseFail(ctx, events.Refuse(404, "'%.80s' endpoint does not exist in shard servers", path))
}

// courseFail answers what went wrong as the course has it.
func courseFail(ctx *fasthttp.RequestCtx, err error) {
	var refusal *events.Refusal
	if !errors.As(err, &refusal) {
		refusal = events.Refuse(503, "%s", err)
	}
	ctx.Response.Reset()
	writeJSON(ctx, refusal.Code, map[string]string{"message": "<Error> " + refusal.Message, "status": "failure"})
}
