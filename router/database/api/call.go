package api

import (
	"slices"

	"github.com/valyala/fasthttp"

	"ringway/events/rowjson"
	"ringway/internal/suggest"
)

// IdempotencyKey makes the repetition of a write harmless.
const IdempotencyKey = "Idempotency-Key"

// Call is what a request may have that is looked at. Who sends something else
// relies on it, so it is refused.
type Call struct {
	Body       bool
	Key        bool // IdempotencyKey
	Parameters []string
}

// Check refuses what a call has not.
func (c *Call) Check(ctx *fasthttp.RequestCtx) error {
	h := &ctx.Request.Header
	for _, name := range []string{fasthttp.HeaderIfMatch, fasthttp.HeaderIfUnmodifiedSince, fasthttp.HeaderIfNoneMatch} {
		if h.Peek(name) != nil && (name != fasthttp.HeaderIfNoneMatch || !h.IsGet() && !h.IsHead()) { // to a read, a whole answer is always right
			return BadRequest("%s: tables have no conditional requests; nothing was done", name)
		}
	}
	switch keys := h.PeekAll(IdempotencyKey); {
	case len(keys) > 1:
		return BadRequest("%s is given twice", IdempotencyKey)
	case len(keys) > 0 && !c.Key:
		return BadRequest("%s is for /write, /update and /del", IdempotencyKey)
	}
	if !c.Body && len(ctx.Request.Body()) > 0 {
		return BadRequest("this call has no body; its parameters are in the query: %q", c.Parameters)
	}
	return c.checkQuery(ctx)
}

func (c *Call) checkQuery(ctx *fasthttp.RequestCtx) (err error) {
	seen := map[string]bool{}
	for key := range ctx.QueryArgs().All() {
		name := string(key)
		switch {
		case err != nil:
		case len(c.Parameters) == 0:
			err = BadRequest("%s: this call has no query; what it is about is in its body", rowjson.Shorten(name))
		case !slices.Contains(c.Parameters, name):
			err = BadRequest("%s is unknown%s", rowjson.Shorten(name), suggest.Word(name, c.Parameters))
		case seen[name]:
			err = BadRequest("%s is given twice", name)
		}
		seen[name] = true
	}
	return err
}
