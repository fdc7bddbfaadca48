package database

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// Paths that are longer than a word. The rest are the cases of Owns and Serve.
const (
	pathServer = "/read/"
	pathOps    = "/v1/ops/"
)

var prefixes = [][]byte{[]byte(pathServer), []byte(pathOps)}

// Owns tells whether a path is one of the database's. It does not allocate.
func Owns(path []byte) bool {
	switch string(path) {
	case "/init", "/status", "/read", "/write", "/update", "/del", "/primary_elect":
		return true
	}
	for _, p := range prefixes {
		if bytes.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// Empty tells whether there is no table.
func (d *Database) Empty() bool { return len(d.tables.Load().all) == 0 }

var calls = [...]struct {
	path, method, or string
	serve            func(*Database, *fasthttp.RequestCtx) error
}{
	{"/init", "POST", "", (*Database).init},
	{"/status", "GET", "HEAD", (*Database).showStatus},
	{"/read", "POST", "GET", (*Database).read},
	{"/write", "POST", "", (*Database).insert},
	{"/update", "PUT", "", (*Database).update},
	{"/del", "DELETE", "", (*Database).remove},
	{"/primary_elect", "GET", "", (*Database).primary},
}

// Serve answers a request of the database's API (the course's second and third assignment).
func (d *Database) Serve(ctx *fasthttp.RequestCtx, path []byte) {
	for i := range calls {
		c := &calls[i]
		if c.path != string(path) {
			continue
		}
		if m := string(ctx.Method()); m != c.method && m != c.or {
			allow := c.method
			if c.or != "" {
				allow += ", " + c.or
			}
			answer.NotAllowed(ctx, allow)
			return
		}
		d.fail(ctx, c.serve(d, ctx))
		return
	}
	if !ctx.IsGet() {
		answer.NotAllowed(ctx, "GET")
		return
	}
	if name, ok := bytes.CutPrefix(path, []byte(pathServer)); ok {
		d.fail(ctx, d.readServer(ctx, unescaped(name)))
		return
	}
	d.fail(ctx, d.showOp(ctx, unescaped(bytes.TrimPrefix(path, []byte(pathOps)))))
}

func unescaped(b []byte) string {
	s, err := url.PathUnescape(string(b))
	if err != nil {
		return string(b)
	}
	return s
}

// refuse answers with an error, if there is one.
func (d *Database) fail(ctx *fasthttp.RequestCtx, err error) {
	if err == nil {
		return
	}
	code, why := explain(err)
	answer.Fail(ctx, code, why)
}

// explain is the status code of an error, and what a person may read.
func explain(err error) (int, string) {
	var statusErr *events.StatusError
	switch {
	case errors.As(err, &statusErr):
		return statusErr.Status(), statusErr.Message
	case errors.Is(err, events.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded):
		return fasthttp.StatusGatewayTimeout, "no answer in time: " + err.Error()
	}
	return fasthttp.StatusServiceUnavailable, err.Error()
}

// called reads the body of a call and finds the table that it is about.
func (d *Database) called(ctx *fasthttp.RequestCtx) (*table, object, error) {
	ts := d.tables.Load()
	if len(ts.all) == 0 {
		return nil, nil, errNoTable
	}
	o, err := parseObject(ctx.Request.Body())
	if err != nil {
		return nil, nil, err
	}
	name, err := o.text("table")
	if err != nil {
		return nil, nil, err
	}
	t, err := ts.named(name)
	return t, o, err
}

// queried finds the table of a call without a body.
func (d *Database) queried(ctx *fasthttp.RequestCtx) (*table, error) {
	return d.tables.Load().named(string(ctx.QueryArgs().Peek("table")))
}

func (d *Database) showStatus(ctx *fasthttp.RequestCtx) error {
	t, err := d.queried(ctx)
	if err == nil {
		answer.JSON(ctx, fasthttp.StatusOK, t.status)
	}
	return err
}

// primary names the replica of a shard that answers writers now.
func (d *Database) primary(ctx *fasthttp.RequestCtx) error {
	var t *table
	var err error
	id := string(ctx.QueryArgs().Peek("shard"))
	if id != "" {
		t, err = d.queried(ctx)
	} else {
		var o object
		if t, o, err = d.called(ctx); err == nil {
			id, err = o.text("shard")
		}
	}
	if err != nil {
		return err
	}
	if id == "" {
		return events.StatusErrorf(400, "shard is missing")
	}
	s := t.shard(id)
	switch {
	case s == nil:
		return events.StatusErrorf(404, "shard %.70q does not exist", id)
	case s.responder == "":
		return events.StatusErrorf(503, "no replica of shard %s is ready", id)
	}
	answer.Value(ctx, struct {
		Primary string `json:"primary"`
		Status  string `json:"status"`
	}{s.responder, answer.Success})
	return nil
}

// statusBody is the answer to /status: the shapes of /init.
func statusBody(r *events.TableRoute) []byte {
	var servers strings.Builder
	for i, s := range r.Servers {
		if i > 0 {
			servers.WriteByte(',')
		}
		shards := s.Shards
		if shards == nil {
			shards = []string{}
		}
		servers.Write(append(append(answer.Marshal(s.Name), ':'), answer.Marshal(shards)...))
	}
	shards := make([]map[string]any, len(r.Table.Shards))
	for i, s := range r.Table.Shards {
		shards[i] = map[string]any{r.Table.Schema.KeyColumn() + "_low": s.Low, "Shard_id": s.ID, "Shard_size": s.Size}
	}
	return answer.Marshal(struct {
		N       int              `json:"N"`
		Schema  events.Schema    `json:"schema"`
		Shards  []map[string]any `json:"shards"`
		Servers json.RawMessage  `json:"servers"`
	}{len(r.Servers), r.Table.Schema, shards, json.RawMessage("{" + servers.String() + "}")})
}
