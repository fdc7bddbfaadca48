package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/router/answer"
	"ringway/router/upstream"
)

// exchange sends the client's request to m and takes over its answer,
// which is held in memory if it is short, and else streamed. Then the request
// leaves m when the stream is closed. After an error ctx.Request is as it was.
func (m *member) exchange(ctx *fasthttp.RequestCtx, req *upstream.Request) error {
	resp := &ctx.Response
	c, err := m.pool.Do(context.Background(), req, &resp.Header) // its deadline ends it
	if err != nil {
		return err
	}
	resp.ResetBody()
	switch length := c.Length(); {
	case ctx.Request.Header.IsHead(), resp.StatusCode() == http.StatusNoContent, resp.StatusCode() == http.StatusNotModified:
		resp.SkipBody = true
	case length >= 0 && length <= m.cfg.MaxBuffer:
		err = c.ReadBody(resp)
	default:
		return m.stream(ctx, c) // Slow path
	}
	c.Release(err == nil)
	return err
}

// stream makes the response read its body from the connection while it is sent
// on. An answer in chunks that is here already is taken whole, so that it is
// sent on in one piece; so is any for a client that cannot read chunks.
func (m *member) stream(ctx *fasthttp.RequestCtx, c *upstream.Conn) error {
	resp, length, body := &ctx.Response, c.Length(), c.Stream()
	if length >= 0 {
		resp.SetBodyStream(&streamed{Reader: body, body: body, member: m}, length)
		return nil
	}
	var here bytes.Buffer
	part := make([]byte, 4096)
	limit, all := m.cfg.MaxBuffer, false
	if ctx.UserValue(http10Client{}) != nil {
		limit, all = m.cfg.MaxOld, true
	}
	for here.Len() < limit && (all || here.Len() == 0 || body.Buffered()) {
		n, err := body.Read(part)
		here.Write(part[:n])
		if err == nil {
			continue
		}
		_ = body.Close() // never fails
		if err == io.EOF {
			resp.SetBody(here.Bytes())
			return nil
		}
		return err
	}
	if all {
		_ = body.Close() // never fails
		return &upstream.Failure{Kind: upstream.Garbled, Err: errors.New("an answer without length is too large for HTTP/1.0")}
	}
	resp.SetBodyStream(&streamed{Reader: io.MultiReader(&here, body), body: body, member: m}, -1)
	return nil
}

// streamed is the body of an answer that is sent on while it is read.
type streamed struct {
	io.Reader
	body   *upstream.Body
	member *member
	closed bool
}

// Close gives the connection back and counts the request as done.
func (s *streamed) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.member.leave()
	return s.body.Close()
}

var errNoMember = errors.New("no server replica is alive")

// refuse answers a request that no member answered, and counts it.
func (p *Proxy) refuse(ctx *fasthttp.RequestCtx, begun time.Time, err error) {
	answerError(ctx, err)
	p.metrics.own.answers[ctx.Response.StatusCode()/100].Inc()
	p.metrics.own.duration.Observe(time.Since(begun).Seconds())
}

func answerError(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, errNoMember) {
		answer.Fail(ctx, http.StatusServiceUnavailable, err.Error())
		return
	}
	switch asFailure(err).Kind {
	case upstream.Unreachable:
		answer.Fail(ctx, http.StatusServiceUnavailable, "no server replica can be reached")
	case upstream.Exhausted:
		answer.Fail(ctx, http.StatusServiceUnavailable, "the router is out of connections")
	case upstream.Late:
		answer.Fail(ctx, http.StatusGatewayTimeout, "the server replica did not answer in time")
	case upstream.Garbled:
		answer.Fail(ctx, http.StatusBadGateway, "the server replica's answer is not HTTP")
	default:
		answer.Fail(ctx, http.StatusBadGateway, "the server replica ended before it answered")
	}
}

func asFailure(err error) *upstream.Failure {
	var f *upstream.Failure
	if errors.As(err, &f) {
		return f
	}
	return &upstream.Failure{Kind: upstream.Garbled, Err: err}
}
