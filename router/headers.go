package router

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"

	"ringway/router/database"
)

// Fields that concern one connection only (RFC 9110, 7.6.1) are not passed on,
// in either direction, nor are those that Connection names.
var (
	hopByHop       = []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Upgrade", "Expect", "Http2-Settings"}
	hopByHopAnswer = []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Upgrade", "Trailer"}
)

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
)

// admit decides whether the request is to be forwarded, and makes it ready to
// be. What is not gets its answer here: the course API, what no service
// declares, what no proxy may pass on.
func (r *Router) admit(ctx *fasthttp.RequestCtx, rt *routes) bool {
	h := &ctx.Request.Header
	found := kindsOfFields(h.RawHeaders())
	if !plain(h, found) && !r.checkUnusual(ctx) { // Slow path
		return false
	}
	path := pathOf(h.RequestURI())
	switch string(path) {
	case "/rep", "/add", "/rm":
		r.assignment(ctx, rt)
		return false
	}
	if database.Owns(path) && r.isForDatabase(rt, path) {
		r.database.Serve(ctx, path)
		return false
	}
	if rt.service == nil {
		r.answerError(ctx, errNoMember)
		return false
	}
	if len(rt.service.paths) > 0 {
		if _, ok := rt.service.paths[string(path)]; !ok {
			r.undeclared(ctx, path)
			return false
		}
	}
	r.stripForForward(ctx, found)
	return true
}

// isForDatabase tells whether a path of the database's is not the service's: a
// declared path is, and so is every path of a service that declares none, while
// there is no table.
func (r *Router) isForDatabase(rt *routes, path []byte) bool {
	switch {
	case rt.service == nil || string(path) == "/init":
		return true
	case len(rt.service.paths) == 0:
		return !r.database.Empty()
	}
	_, declared := rt.service.paths[string(path)]
	return !declared
}

// plain tells a request that needs no further look: known method, target in
// origin form, a host, length by Content-Length, nothing about connections.
func plain(h *fasthttp.RequestHeader, found fieldKinds) bool {
	target := h.RequestURI()
	return (h.IsGet() || h.IsPost() || h.IsHead() || h.IsPut() || h.IsDelete()) &&
		target[0] == '/' && bytes.IndexByte(target, '#') < 0 &&
		h.IsHTTP11() && len(h.Host()) > 0 &&
		found&(fieldUpgrade|fieldFraming) == 0
}

// checkUnusual refuses what is wrong, and makes the rest of the unusual plain.
func (r *Router) checkUnusual(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	switch {
	case h.IsConnect() || h.IsTrace():
		r.fail(ctx, fasthttp.StatusMethodNotAllowed, "method "+string(h.Method())+" is not forwarded")
		ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		return false
	case h.IsHTTP11() && len(h.Host()) == 0:
		return r.bad(ctx, "Host is missing")
	case bytes.EqualFold(h.Peek(fasthttp.HeaderUpgrade), []byte("websocket")):
		r.fail(ctx, fasthttp.StatusNotImplemented, "websocket connections are not forwarded yet")
		return false
	case ambiguousFraming(h.RawHeaders()):
		return r.bad(ctx, "use either Content-Length or Transfer-Encoding: chunked")
	case !h.IsHTTP11() && string(h.Protocol()) != "HTTP/1.0":
		r.fail(ctx, fasthttp.StatusHTTPVersionNotSupported, "use HTTP/1.1")
		ctx.SetConnectionClose()
		return false
	}
	target := h.RequestURI()
	switch {
	case bytes.IndexByte(target, '#') >= 0:
		return r.bad(ctx, "the request target has a fragment")
	case string(target) == "*" && string(h.Method()) == fasthttp.MethodOptions:
	case target[0] != '/':
		// Absolute form: its authority counts, not Host (RFC 9112, 3.2.2).
		uri := ctx.URI()
		if string(uri.Scheme()) != "http" && string(uri.Scheme()) != "https" || len(uri.Host()) == 0 {
			return r.bad(ctx, "the request target is neither a path nor an http address")
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

// bad answers 400 and ends the connection: what follows on it may be anything.
func (r *Router) bad(ctx *fasthttp.RequestCtx, why string) bool {
	r.fail(ctx, fasthttp.StatusBadRequest, why)
	ctx.SetConnectionClose()
	return false
}

// stripForForward turns the client's request into ours to the member.
func (r *Router) stripForForward(ctx *fasthttp.RequestCtx, found fieldKinds) {
	h := &ctx.Request.Header
	// The server has noted already whether the client wants to close.
	h.ResetConnectionClose()
	if found&fieldConnection != 0 {
		deleteNamed(h.PeekAll(fasthttp.HeaderConnection), h.Del) // Slow path
		h.Del(fasthttp.HeaderConnection)
	}
	if found&(fieldHopByHop|fieldUpgrade) != 0 { // Slow path
		for _, name := range hopByHop {
			h.Del(name)
		}
	}
	if !h.IsHTTP11() {
		h.SetProtocol("HTTP/1.1")
		ctx.SetUserValue(http10Client{}, true)
		if len(h.Host()) == 0 {
			h.SetHost("localhost")
		}
	}
	h.SetNoDefaultContentType(true)
	if n := len(ctx.Request.Body()); n > 0 || !h.IsGet() && !h.IsHead() {
		h.SetContentLength(n)
	}
	r.setForwardedFields(ctx)
}

// http10Client marks a request of HTTP/1.0, whose client cannot read chunks.
type http10Client struct{}

// setForwardedFields tells the member who asked, and for what. A client on a Unix socket
// has no address: what it says of others passes as it came, as HAProxy and
// Envoy have it, for whoever may write to the socket is trusted with that.
func (r *Router) setForwardedFields(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	var stack [256]byte // longer ones are rare, and may allocate
	buf := stack[:0]
	for _, v := range h.PeekAll(forwardedFor) {
		buf = append(append(buf, v...), ", "...)
	}
	if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		ip, _ := netip.AddrFromSlice(tcp.IP)
		buf = ip.Unmap().AppendTo(buf)
	} else {
		buf = bytes.TrimSuffix(buf, []byte(", "))
	}
	h.Del(forwardedFor) // all of them: a second one would pass for the last hop
	if len(buf) > 0 {
		h.SetBytesV(forwardedFor, buf)
	}
	if !r.cfg.TrustForwarded || len(h.Peek(forwardedProto)) == 0 {
		h.Del(forwardedProto)
		h.Set(forwardedProto, "http")
	}
	if !r.cfg.TrustForwarded || len(h.Peek(forwardedHost)) == 0 {
		h.Del(forwardedHost)
		h.SetBytesV(forwardedHost, h.Host())
	}
}

// cleanAnswer makes the member's answer ours to the client.
func cleanAnswer(resp *fasthttp.Response) {
	h := &resp.Header
	h.ResetConnectionClose()
	var found fieldKinds
	for name := range h.All() {
		found |= kindOfField(name)
	}
	if found != 0 { // Slow path
		deleteNamed(h.PeekAll(fasthttp.HeaderConnection), h.Del)
		h.Del(fasthttp.HeaderConnection)
		for _, name := range hopByHopAnswer {
			h.Del(name)
		}
	}
	if !h.IsHTTP11() || len(h.Protocol()) == 0 {
		h.SetProtocol(http11)
	}
}

// deleteNamed deletes the fields that Connection names, except those without
// which the message would become another one.
func deleteNamed(connection [][]byte, del func(string)) {
	var names []string // copied: deleting moves what connection points at
	for _, v := range connection {
		if bytes.EqualFold(v, keepAlive) {
			continue // what most clients say; it must not allocate
		}
		for name := range bytes.SplitSeq(v, []byte(",")) {
			names = append(names, string(bytes.TrimSpace(name)))
		}
	}
	for _, name := range names {
		switch name := string(bytes.ToLower([]byte(name))); name {
		case "", "close", "keep-alive", "host", "content-length", "transfer-encoding", "content-type", "trailer":
		default:
			del(name)
		}
	}
}

// ambiguousFraming tells whether two servers might disagree about where the request
// ends (RFC 9112, 6.1).
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

var (
	http11    = []byte("HTTP/1.1")
	keepAlive = []byte("keep-alive")

	transferEncoding = []byte(fasthttp.HeaderTransferEncoding)
)
