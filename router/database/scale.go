package database

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
	"ringway/router/database/api"
)

// maxScaleBody is the size of the largest request to /init, /add or /rm.
const maxScaleBody = 1 << 20

// Concerns reports whether the body of /add or /rm is about the database: if it
// has servers or shards.
func Concerns(body []byte) bool {
	if !bytes.Contains(body, []byte(`"servers"`)) && !bytes.Contains(body, []byte(`"new_shards"`)) {
		return false
	}
	o, err := api.ParseObject(body)
	if err != nil {
		return false // the answer to it has the error
	}
	_, servers := o["servers"]
	_, shards := o["new_shards"]
	return servers || shards
}

func (d *Database) init(ctx *fasthttp.RequestCtx) error {
	if len(ctx.Request.Body()) > maxScaleBody {
		return events.StatusErrorf(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	req, err := parseInit(ctx.Request.Body())
	if err != nil {
		return err
	}
	if _, err := d.askLeader(ctx, events.APIInit, req.ID, req); err != nil {
		return err
	}
	answer.Value(ctx, struct {
		Message string `json:"message"`
		Status  string `json:"status"`
	}{"Configured Database", answer.Success})
	return nil
}

func parseInit(body []byte) (events.InitRequest, error) {
	fail := func(err error) (events.InitRequest, error) { return events.InitRequest{}, err }
	o, err := api.ParseObject(body)
	if err != nil {
		return fail(err)
	}
	req := events.InitRequest{ID: rand.Text()}
	if req.N, err = o.Int("N"); err != nil {
		return fail(err)
	}
	if !o.Has("schema") {
		return fail(api.BadRequest("schema is missing"))
	}
	if req.Table.Schema, err = parseSchema(o["schema"]); err != nil {
		return fail(err)
	}
	if err := req.Table.Schema.Validate(); err != nil {
		return fail(err)
	}
	if !o.Has("shards") {
		return fail(api.BadRequest("shards is missing"))
	}
	list, err := o.List("shards")
	if err != nil {
		return fail(err)
	}
	if req.Table.Shards, err = parseShards("shards", req.Table.Schema.KeyColumn(), list); err != nil {
		return fail(err)
	}
	if req.Table.Name, err = o.Text("table"); err != nil {
		return fail(err)
	}
	req.Table.Name = cmp.Or(req.Table.Name, events.DefaultTable)
	if req.Engine, err = o.Text("engine"); err != nil {
		return fail(err)
	}
	if o.Has("replicas") {
		if req.Replicas, err = o.Int("replicas"); err != nil {
			return fail(err)
		}
	}
	if o.Has("servers") {
		if req.Servers, err = parsePlacements(o["servers"]); err != nil {
			return fail(err)
		}
	}
	if err := req.Table.Validate(); err != nil {
		return fail(err)
	}
	return req, checkInit(&req)
}

// checkInit refuses what no state of the cluster can make right.
func checkInit(req *events.InitRequest) error {
	if req.N <= 0 {
		return api.BadRequest("N is %d; it must be at least 1", req.N)
	}
	if len(req.Servers) > req.N {
		return api.BadRequest("servers: %d are named, but N is %d", len(req.Servers), req.N)
	}
	for _, p := range req.Servers {
		for _, id := range p.Shards {
			if _, ok := req.Table.Shard(id); !ok {
				return api.BadRequest("servers: %s shall keep shard %.70q, which is not defined", cmp.Or(p.Name, "a server"), id)
			}
		}
	}
	return nil
}

// Add answers an /add that Concerns the database.
func (d *Database) Add(ctx *fasthttp.RequestCtx) {
	api.Fail(ctx, d.add(ctx))
}

func (d *Database) add(ctx *fasthttp.RequestCtx) error {
	t, o, err := d.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	req, err := parseAdd(&t.Route.Table, o)
	if err != nil {
		return err
	}
	reply, err := d.askLeader(ctx, events.APIAddServers, req.ID, req)
	if err != nil {
		return err
	}
	answer.Value(ctx, struct {
		N       int    `json:"N"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}{reply.N, "Add " + listServers(reply.Added), answer.Successful})
	return nil
}

func parseAdd(t *events.Table, o api.Object) (events.ServersRequest, error) {
	fail := func(err error) (events.ServersRequest, error) { return events.ServersRequest{}, err }
	if o.Has("hostnames") {
		return fail(api.BadRequest("hostnames is for the HTTP service, servers and new_shards are for the database; use one of them"))
	}
	req := events.ServersRequest{ID: rand.Text(), Table: t.Name}
	var err error
	if req.N, err = o.Int("n"); err != nil {
		return fail(err)
	}
	if req.N <= 0 {
		return fail(api.BadRequest("n is %d; it must be at least 1", req.N))
	}
	if o.Has("servers") {
		if req.Servers, err = parsePlacements(o["servers"]); err != nil {
			return fail(err)
		}
	}
	list, err := o.List("new_shards")
	if err != nil {
		return fail(err)
	}
	if req.NewShards, err = parseShards("new_shards", t.Schema.KeyColumn(), list); err != nil {
		return fail(err)
	}
	switch named := len(req.Servers); {
	case req.N > named:
		return fail(api.BadRequest("Number of new servers (n) is greater than newly added instances"))
	case req.N < named:
		return fail(api.BadRequest("servers: %d are named, but n is %d", named, req.N))
	}
	return req, checkAdd(t, &req)
}

// checkAdd refuses shards that cannot be beside those that are there. They
// stay, so that no later state makes it right.
func checkAdd(t *events.Table, req *events.ServersRequest) error {
	after := events.Table{Name: t.Name, Schema: t.Schema, Shards: slices.Concat(t.Shards, req.NewShards)}
	if len(req.NewShards) > 0 {
		if err := after.Validate(); err != nil {
			return err
		}
	}
	for _, p := range req.Servers {
		for _, id := range p.Shards {
			if _, ok := after.Shard(id); !ok {
				return api.BadRequest("servers: %s shall keep shard %.70q, which is not defined", cmp.Or(p.Name, "a server"), id)
			}
		}
	}
	return nil
}

// listServers lists servers as the assignment does: Server:4, Server:5 and Server:6.
func listServers(names []string) string {
	listed := make([]string, len(names))
	for i, name := range names {
		listed[i] = "Server:" + strings.TrimPrefix(name, "Server")
	}
	if n := len(listed); n > 1 {
		return strings.Join(listed[:n-1], ", ") + " and " + listed[n-1]
	}
	return strings.Join(listed, "")
}

// Remove answers an /rm that Concerns the database.
func (d *Database) Remove(ctx *fasthttp.RequestCtx) {
	api.Fail(ctx, d.removeServers(ctx))
}

func (d *Database) removeServers(ctx *fasthttp.RequestCtx) error {
	t, o, err := d.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	req, err := parseRemove(t.Name(), o)
	if err != nil {
		return err
	}
	reply, err := d.askLeader(ctx, events.APIRemoveServers, req.ID, req)
	if err != nil {
		return err
	}
	type message struct {
		N       int      `json:"N"`
		Servers []string `json:"servers"`
	}
	answer.Value(ctx, struct {
		Message message `json:"message"`
		Status  string  `json:"status"`
	}{message{reply.N, append([]string{}, reply.Removed...)}, answer.Successful})
	return nil
}

func parseRemove(table string, o api.Object) (events.ServersRequest, error) {
	fail := func(err error) (events.ServersRequest, error) { return events.ServersRequest{}, err }
	if o.Has("hostnames") {
		return fail(api.BadRequest("hostnames is for the HTTP service, servers is for the database; use one of them"))
	}
	if o.Has("new_shards") {
		return fail(api.BadRequest("new_shards is for /add"))
	}
	req := events.ServersRequest{ID: rand.Text(), Table: table}
	var err error
	if req.N, err = o.Int("n"); err != nil {
		return fail(err)
	}
	if req.N <= 0 {
		return fail(api.BadRequest("n is %d; it must be at least 1", req.N))
	}
	if o.Has("servers") {
		if req.Names, err = api.Texts("servers", o["servers"]); err != nil {
			return fail(err)
		}
	}
	if len(req.Names) > req.N {
		return fail(api.BadRequest("Length of server list is more than removable instances"))
	}
	for i, name := range req.Names {
		if slices.Contains(req.Names[:i], name) {
			return fail(api.BadRequest("servers: %.70s is named twice", name))
		}
	}
	return req, nil
}

// order asks the leader, and returns when this router serves what it decided.
func (d *Database) askLeader(ctx *fasthttp.RequestCtx, verb, id string, req any) (events.ServersReply, error) {
	var reply events.ServersReply
	whole, cancel := context.WithTimeout(ctx, d.cfg.Scale) // ctx ends when the server stops
	defer cancel()
	err := d.leader.Ask(whole, verb, req, &reply)
	var statusErr *events.StatusError
	switch {
	case errors.As(err, &statusErr):
		return reply, err
	case errors.Is(err, events.ErrNoLeader):
		return reply, events.StatusErrorf(http.StatusServiceUnavailable, "no controller answers; nothing was changed, try again")
	case err != nil:
		return reply, events.StatusErrorf(http.StatusGatewayTimeout, "no answer from the controller: it may or may not happen; look at /status")
	}
	if err := d.catalog.Await(whole, reply.Table, reply.Epoch); err != nil {
		return reply, events.StatusErrorf(http.StatusGatewayTimeout, "outcome: request %s is done, but this router does not serve it yet", id)
	}
	return reply, nil
}
