package edge

import (
	"bytes"
	"net/http"

	"github.com/valyala/fasthttp"

	"ringway/router/answer"
)

// Admit decides whether a request may be served at all, and makes what is
// unusual usual: trailers are gone, and the target is a path. What no proxy may
// pass on, or two servers might read differently, gets its answer here. It
// returns what the header is about, for StripRequest.
func Admit(ctx *fasthttp.RequestCtx) (Fields, bool) {
	h := &ctx.Request.Header
	found := scanFields(h.RawHeaders())
	return found, usual(h, found) || admitUnusual(ctx) // Slow path
}

// Path is the path of a request's target in origin form, as it came.
func Path(h *fasthttp.RequestHeader) []byte {
	target := h.RequestURI()
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i]
	}
	return target
}

// usual reports whether a request needs no further look: known method, target
// in origin form, a host, length by Content-Length, nothing about connections.
func usual(h *fasthttp.RequestHeader, found Fields) bool {
	target := h.RequestURI()
	return (h.IsGet() || h.IsPost() || h.IsHead() || h.IsPut() || h.IsDelete()) &&
		target[0] == '/' && bytes.IndexByte(target, '#') < 0 &&
		h.IsHTTP11() && len(h.Host()) > 0 &&
		found&(fieldUpgrade|fieldFraming) == 0
}

// admitUnusual refuses what is wrong, and makes the rest of the unusual plain.
func admitUnusual(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	switch {
	case h.IsConnect() || h.IsTrace():
		answer.Fail(ctx, http.StatusMethodNotAllowed, "method "+string(h.Method())+" is not forwarded")
		ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		return false
	case h.IsHTTP11() && len(h.Host()) == 0:
		return badRequest(ctx, "Host is missing")
	case bytes.EqualFold(h.Peek(fasthttp.HeaderUpgrade), []byte("websocket")):
		answer.Fail(ctx, http.StatusNotImplemented, "websocket connections are not forwarded yet")
		return false
	case ambiguousFraming(h.RawHeaders()):
		return badRequest(ctx, "use either Content-Length or Transfer-Encoding: chunked")
	case !h.IsHTTP11() && string(h.Protocol()) != "HTTP/1.0":
		answer.Fail(ctx, http.StatusHTTPVersionNotSupported, "use HTTP/1.1")
		ctx.SetConnectionClose()
		return false
	}
	target := h.RequestURI()
	switch {
	case bytes.IndexByte(target, '#') >= 0:
		return badRequest(ctx, "the request target has a fragment")
	case string(target) == "*" && string(h.Method()) == fasthttp.MethodOptions:
	case target[0] != '/':
		// Absolute form: its authority counts, not Host (RFC 9112, 3.2.2).
		uri := ctx.URI()
		if string(uri.Scheme()) != "http" && string(uri.Scheme()) != "https" || len(uri.Host()) == 0 {
			return badRequest(ctx, "the request target is neither a path nor an http address")
		}
		uri.DisablePathNormalizing = true
		h.SetHostBytes(uri.Host())
		h.SetRequestURIBytes(uri.RequestURI())
	}
	if announced := h.PeekTrailerKeys(); len(announced) > 0 {
		// Trailer fields must not become header fields (RFC 9110, 6.5.1).
		drop := make([]string, len(announced))
		for i, k := range announced {
			drop[i] = string(k)
		}
		h.Del(fasthttp.HeaderTrailer)
		for _, k := range drop {
			if k != fasthttp.HeaderHost {
				h.Del(k)
			}
		}
	}
	h.Del(fasthttp.HeaderTransferEncoding)
	return true
}

// badRequest answers 400 and ends the connection: what follows on it may be anything.
func badRequest(ctx *fasthttp.RequestCtx, why string) bool {
	answer.Fail(ctx, http.StatusBadRequest, why)
	ctx.SetConnectionClose()
	return false
}

// ambiguousFraming reports whether two servers might disagree about where the
// request ends (RFC 9112, 6.1).
func ambiguousFraming(raw []byte) bool {
	encoded, sized := false, false
	for line := range bytes.SplitSeq(raw, []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(bytes.TrimSpace(name), transferEncoding):
			if encoded || !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")) {
				return true
			}
			encoded = true
		case bytes.EqualFold(bytes.TrimSpace(name), []byte(fasthttp.HeaderContentLength)):
			sized = true
		}
	}
	return encoded && sized
}

var transferEncoding = []byte(fasthttp.HeaderTransferEncoding)
