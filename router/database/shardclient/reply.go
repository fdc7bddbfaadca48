package shardclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/upstream"
)

// reply is an answer whose body is still to be read. Close it.
type reply struct {
	*upstream.Body
	code   int
	length int // of the body; at most 0 if it is not known
}

// maxHeader is the size of the largest header of an answer.
const maxHeader = 16 << 10

// ask sends a request and returns when the header of its answer is there, at most
// cfg.Try later. The end of ctx ends the answer too. All requests are reads, so
// they may be sent again.
func (c *Client) ask(ctx context.Context, method, uri string, body []byte) (*reply, error) {
	req := upstream.Request{
		Head: c.head(method, uri, body), Body: body,
		Deadline: time.Now().Add(c.cfg.Try), Stall: c.cfg.Stall, Repeatable: true,
	}
	var header fasthttp.ResponseHeader
	conn, err := c.pool.Do(ctx, &req, &header)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.address, err)
	}
	if conn.Length() == upstream.UntilClose {
		conn.Release(false)
		return nil, fmt.Errorf("ask %s: an answer whose end cannot be told", c.address)
	}
	return &reply{Body: conn.Stream(), code: header.StatusCode(), length: conn.Length()}, nil
}

// head is the head of a request as it is written.
type head []byte

// AppendBytes implements upstream.Head.
func (h head) AppendBytes(dst []byte) []byte { return append(dst, h...) }

func (c *Client) head(method, uri string, body []byte) head {
	h := append(make(head, 0, 128+len(uri)), method+" "+uri+" HTTP/1.1\r\nHost: "+c.address+"\r\n"...)
	if body != nil {
		h = append(h, "Content-Type: application/json\r\nContent-Length: "...)
		h = append(strconv.AppendInt(h, int64(len(body)), 10), "\r\n"...)
	}
	return append(h, "\r\n"...)
}

// all reads the rest of a short answer.
func (r *reply) all(limit int) ([]byte, error) {
	if n := r.length; n > 0 && n <= limit {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("an answer of more than %d bytes", limit)
	}
	return b, err
}

const maxStatusError = 64 << 10

// statusError is why a replica does not answer.
func (r *reply) statusError() error {
	body, err := r.all(maxStatusError)
	if err != nil {
		return err
	}
	statusErr := &events.StatusError{}
	if err := json.Unmarshal(body, statusErr); err != nil || statusErr.Message == "" {
		return fmt.Errorf("status %d: %.200q", r.code, body)
	}
	statusErr.Code = r.code
	return statusErr
}
