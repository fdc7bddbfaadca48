package database

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
	"ringway/router/database/write"
)

// pathServer begins the path of all rows of one server.
const pathServer = "/read/"

// Owns reports whether a path is one of the database's. It does not allocate.
func Owns(path []byte) bool {
	switch string(path) {
	case "/init", "/status", "/read", "/write", "/update", "/del", "/primary_elect":
		return true
	}
	return bytes.HasPrefix(path, []byte(pathServer)) || bytes.HasPrefix(path, []byte(write.PathOps))
}

// Empty reports whether there is no table.
func (d *Database) Empty() bool { return d.catalog.Tables().Empty() }

// Serve answers a request that the database Owns.
func (d *Database) Serve(ctx *fasthttp.RequestCtx, path []byte) {
	switch string(path) {
	case "/init":
		serve(ctx, d.init, "POST")
	case "/status":
		serve(ctx, d.checked(ofTable, d.showStatus), "GET", "HEAD")
	case "/read":
		serve(ctx, d.checked(rows, d.reader.Read), "POST", "GET")
	case "/write":
		serve(ctx, d.checked(rows, d.writer.Insert), "POST")
	case "/update":
		serve(ctx, d.checked(rows, d.writer.Update), "PUT")
	case "/del":
		serve(ctx, d.checked(rows, d.writer.Delete), "DELETE")
	case "/primary_elect":
		serve(ctx, d.checked(ofShard, d.primary), "GET")
	default:
		if server, ok := bytes.CutPrefix(path, []byte(pathServer)); ok {
			serve(ctx, d.checked(ofTable, func(ctx *fasthttp.RequestCtx) error { return d.reader.Server(ctx, unescaped(server)) }), "GET")
			return
		}
		op := bytes.TrimPrefix(path, []byte(write.PathOps))
		serve(ctx, d.checked(ofOp, func(ctx *fasthttp.RequestCtx) error { return d.writer.ShowOp(ctx, unescaped(op)) }), "GET")
	}
}

// What the calls have.
var (
	configuring = &api.Call{Body: true}
	rows        = &api.Call{Body: true, Key: true} // to a read, the key does no harm
	ofTable     = &api.Call{Parameters: []string{"table"}}
	ofShard     = &api.Call{Body: true, Parameters: []string{"table", "shard"}}
	ofOp        = &api.Call{}
)

type handler = func(*fasthttp.RequestCtx) error

// checked refuses what a call about a table has not.
func (d *Database) checked(call *api.Call, handle handler) handler {
	return func(ctx *fasthttp.RequestCtx) error {
		if ts := d.catalog.Tables(); ts.Empty() {
			return ts.NoTable()
		}
		if err := call.Check(ctx); err != nil {
			return err
		}
		return handle(ctx)
	}
}

func serve(ctx *fasthttp.RequestCtx, handle handler, methods ...string) {
	if !slices.Contains(methods, string(ctx.Method())) {
		answer.NotAllowed(ctx, strings.Join(methods, ", "))
		return
	}
	api.Fail(ctx, handle(ctx))
}

func unescaped(b []byte) string {
	s, err := url.PathUnescape(string(b))
	if err != nil {
		return string(b)
	}
	return s
}

// table is the one that the query of a call names.
func (d *Database) table(ctx *fasthttp.RequestCtx) (*catalog.Table, error) {
	return d.catalog.Tables().Find(string(ctx.QueryArgs().Peek("table")))
}

func (d *Database) showStatus(ctx *fasthttp.RequestCtx) error {
	t, err := d.table(ctx)
	if err == nil {
		answer.JSON(ctx, http.StatusOK, statusBody(&t.Route))
	}
	return err
}

// primary names the replica of a shard that answers writers now.
func (d *Database) primary(ctx *fasthttp.RequestCtx) error {
	var t *catalog.Table
	var err error
	var id string
	if args := ctx.QueryArgs(); args.Len() > 0 {
		id = string(args.Peek("shard"))
		t, err = d.table(ctx)
	} else {
		var o strictjson.Object
		if t, o, err = d.catalog.Tables().Parse(ctx.Request.Body()); err == nil {
			o.Only("table", "shard")
			id, err = o.Text("shard"), o.Err()
		}
	}
	if err != nil {
		return err
	}
	if id == "" {
		return api.BadRequest("shard is missing")
	}
	s := t.Shard(id)
	switch {
	case s == nil:
		return events.StatusErrorf(http.StatusNotFound, "shard %.70q does not exist", id)
	case s.Responder == "":
		return events.StatusErrorf(http.StatusServiceUnavailable, "no replica of shard %s is ready", id)
	}
	answer.Value(ctx, struct {
		Primary string `json:"primary"`
		Status  string `json:"status"`
	}{s.Responder, answer.Success})
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
