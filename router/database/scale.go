package database

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/answer"
	"ringway/router/database/api"
)

// maxScaleBody is the size of the largest request to /init, /add or /rm.
const maxScaleBody = 1 << 20

// Fields of the bodies of /add and /rm, by what they concern; each one's are
// proposed to who misspells one in the other.
var (
	ServiceFields  = []string{"n", "hostnames"}
	DatabaseFields = []string{"servers", "new_shards", "table"}
)

// Concerns reports whether the body of /add or /rm is about the database: if it
// has servers, shards or a table.
func Concerns(body []byte) bool {
	o, err := strictjson.Parse(body)
	if err != nil {
		return false // the answer to it has the error
	}
	return o.Names("servers") || o.Names("new_shards") || o.Names("table")
}

func (d *Database) init(ctx *fasthttp.RequestCtx) error {
	if len(ctx.Request.Body()) > maxScaleBody {
		return events.StatusErrorf(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	req, err := parseInit(ctx.Request.Body())
	if err == nil {
		err = configuring.Check(ctx)
	}
	if err != nil {
		return err
	}
	if _, err := d.askLeader(ctx, events.APIInit, req.ID, req); err != nil {
		return err
	}
	answer.JSON(ctx, http.StatusOK, answer.DoneBody("Configured Database"))
	return nil
}

func parseInit(body []byte) (events.InitRequest, error) {
	req := events.InitRequest{ID: rand.Text()}
	o, err := strictjson.Parse(body)
	if err != nil {
		return req, err
	}
	o.Only("N", "schema", "shards", "servers", "table", "engine", "replicas")
	req.N = o.Int("N")
	req.Table.Schema = parseSchema(o)
	o.Require("shards")
	req.Table.Shards = parseShards(o, "shards", &req.Table.Schema)
	req.Table.Name = cmp.Or(o.Text("table"), events.DefaultTable)
	req.Engine = o.Text("engine")
	if o.Has("replicas") {
		req.Replicas = o.Int("replicas")
	}
	req.Servers = parsePlacements(o)
	o.Fail(req.Table.Validate())
	// What no state of the cluster can make right is refused here.
	if req.N <= 0 {
		o.Fail(api.BadRequest("N is %d; it must be at least 1", req.N))
	}
	if len(req.Servers) > req.N {
		o.Fail(api.BadRequest("servers: %d are named, but N is %d", len(req.Servers), req.N))
	}
	o.Fail(checkPlacements(req.Servers, &req.Table))
	return req, o.Err()
}

// Add answers an /add that Concerns the database.
func (d *Database) Add(ctx *fasthttp.RequestCtx) {
	api.Fail(ctx, d.checked(configuring, d.add)(ctx))
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

func parseAdd(t *events.Table, o strictjson.Object) (events.ServersRequest, error) {
	o.Only(slices.Concat(ServiceFields, DatabaseFields)...)
	if o.Has("hostnames") {
		o.Fail(api.BadRequest("hostnames is for the HTTP service, servers and new_shards are for the database; use one of them"))
	}
	req := events.ServersRequest{ID: rand.Text(), Table: t.Name, N: parseCount(o), Servers: parsePlacements(o)}
	req.NewShards = parseShards(o, "new_shards", &t.Schema)
	switch named := len(req.Servers); {
	case req.N > named:
		o.Fail(api.BadRequest("Number of new servers (n) is greater than newly added instances"))
	case req.N < named:
		o.Fail(api.BadRequest("servers: %d are named, but n is %d", named, req.N))
	}
	// Shards that cannot be beside those that are there are refused here: these
	// stay, so that no later state makes it right.
	after := events.Table{Name: t.Name, Schema: t.Schema, Shards: slices.Concat(t.Shards, req.NewShards)}
	if len(req.NewShards) > 0 {
		o.Fail(after.Validate())
	}
	o.Fail(checkPlacements(req.Servers, &after))
	return req, o.Err()
}

// parseCount reads how many servers come or go.
func parseCount(o strictjson.Object) int {
	n := o.Int("n")
	if n <= 0 {
		o.Fail(api.BadRequest("n is %d; it must be at least 1", n))
	}
	return n
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
	api.Fail(ctx, d.checked(configuring, d.removeServers)(ctx))
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

func parseRemove(table string, o strictjson.Object) (events.ServersRequest, error) {
	o.Only(slices.Concat(ServiceFields, DatabaseFields)...)
	if o.Has("hostnames") {
		o.Fail(api.BadRequest("hostnames is for the HTTP service, servers is for the database; use one of them"))
	}
	if o.Has("new_shards") {
		o.Fail(api.BadRequest("new_shards is for /add"))
	}
	req := events.ServersRequest{ID: rand.Text(), Table: table, N: parseCount(o)}
	if !o.Names("servers") {
		o.Fail(api.BadRequest("table %.70s: servers is missing; [] takes any", table))
	}
	if o.Has("servers") {
		req.Names = o.Texts("servers")
	}
	if len(req.Names) > req.N {
		o.Fail(api.BadRequest("Length of server list is more than removable instances"))
	}
	if name, twice := repeated(req.Names); twice {
		o.Fail(api.BadRequest("servers: %.70s is named twice", name))
	}
	return req, o.Err()
}

// askLeader returns when this router serves what the leader decided.
func (d *Database) askLeader(ctx *fasthttp.RequestCtx, verb, id string, req any) (events.ServersReply, error) {
	var reply events.ServersReply
	whole, cancel := context.WithTimeout(ctx, d.cfg.Scale) // ctx ends when the server stops
	defer cancel()
	if err := api.Undecided(d.leader.Ask(whole, verb, req, &reply), "/status"); err != nil {
		return reply, err
	}
	if err := d.catalog.Await(whole, reply.Table, reply.Epoch); err != nil {
		return reply, events.StatusErrorf(http.StatusGatewayTimeout, "outcome: request %s is done, but this router does not serve it yet", id)
	}
	return reply, nil
}
