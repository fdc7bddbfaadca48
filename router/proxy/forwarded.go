package proxy

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"

	"ringway/router/edge"
)

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
)

// http10Client marks a request of HTTP/1.0, whose client cannot read chunks.
type http10Client struct{}

// toMember turns the client's request into ours to the member.
func (p *Proxy) toMember(ctx *fasthttp.RequestCtx, found edge.Fields) {
	h := &ctx.Request.Header
	edge.StripRequest(h, found)
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
	p.setForwarded(ctx)
}

// setForwarded names the client, and what it asked for, in X-Forwarded-*. A
// client on a Unix socket has no address: the field passes as it came, as in
// HAProxy and Envoy, since whoever may write to the socket is trusted with it.
func (p *Proxy) setForwarded(ctx *fasthttp.RequestCtx) {
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
	if !p.cfg.TrustForwarded || len(h.Peek(forwardedProto)) == 0 {
		h.Del(forwardedProto)
		h.Set(forwardedProto, "http")
	}
	if !p.cfg.TrustForwarded || len(h.Peek(forwardedHost)) == 0 {
		h.Del(forwardedHost)
		h.SetBytesV(forwardedHost, h.Host())
	}
}
