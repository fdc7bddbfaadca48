package router

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/valyala/fasthttp"

	"ringway/router/upstream"
)

// exchange sends the client's request to u and takes over its answer,
// which is held in memory if it is short, and else streamed. Then the request
// leaves u when the stream is closed. After an error ctx.Request is as it was.
func (u *member) exchange(ctx *fasthttp.RequestCtx, req *upstream.Request) error {
	resp := &ctx.Response
	c, err := u.pool.Do(context.Background(), req, &resp.Header) // its deadline ends it
	if err != nil {
		return err
	}
	resp.ResetBody()
	switch length := c.Length(); {
	case ctx.Request.Header.IsHead(), resp.StatusCode() == fasthttp.StatusNoContent, resp.StatusCode() == fasthttp.StatusNotModified:
		resp.SkipBody = true
	case length >= 0 && length <= u.cfg.MaxBuffer:
		err = c.ReadBody(resp)
	default:
		return u.stream(ctx, c) // Slow path
	}
	c.Release(err == nil)
	return err
}

// stream makes the response read its body from the connection while it is sent
// on. An answer in chunks that is here already is taken whole, so that it is
// sent on in one piece; so is any for a client that cannot read chunks.
func (u *member) stream(ctx *fasthttp.RequestCtx, c *upstream.Conn) error {
	resp, length, body := &ctx.Response, c.Length(), c.Stream()
	if length >= 0 {
		resp.SetBodyStream(&streamed{Reader: body, body: body, member: u}, length)
		return nil
	}
	var here bytes.Buffer
	part := make([]byte, 4096)
	limit, all := u.cfg.MaxBuffer, false
	if ctx.UserValue(http10Client{}) != nil {
		limit, all = u.cfg.MaxBody, true
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
	resp.SetBodyStream(&streamed{Reader: io.MultiReader(&here, body), body: body, member: u}, -1)
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
