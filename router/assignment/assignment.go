// Package assignment is the API of the load balancer in the first assignment:
// /rep, /add and /rm. /rep is answered from the snapshot of the routes; /add and
// /rm are decided by the leader, and answered when this router serves what it
// decided.
package assignment

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/answer"
	"ringway/router/database"
	"ringway/router/database/api"
)

// Config is what can be tuned.
type Config struct {
	Scale time.Duration // longest wait for the outcome of /add and /rm; 504 beyond
}

// maxScaleBody is the size of the largest request to /add or /rm.
const maxScaleBody = 1 << 20

// leader decides. Ask returns its *events.StatusError, events.ErrNoLeader if
// nobody can have acted on req, or events.ErrUnknownOutcome.
type leader interface {
	Ask(ctx context.Context, verb string, req, reply any) error
}

// services are those that this router serves. Await returns when an epoch
// of one or a later one is served.
type services interface {
	Await(ctx context.Context, service string, epoch events.Epoch) error
}

// tables answer those /add and /rm whose body database.Concerns.
type tables interface {
	Add(ctx *fasthttp.RequestCtx)
	Remove(ctx *fasthttp.RequestCtx)
}

// API answers the requests.
type API struct {
	cfg      Config
	leader   leader
	services services
	tables   tables
}

// New starts nothing.
func New(cfg Config, leader leader, services services, tables tables) *API {
	return &API{cfg: cfg, leader: leader, services: services, tables: tables}
}

// Serve answers /rep, /add or /rm. service is the one that they are about, and
// rep its answer to /rep; nil if no service is known.
func (a *API) Serve(ctx *fasthttp.RequestCtx, path []byte, service string, rep []byte) {
	h := &ctx.Request.Header
	switch string(path) {
	case "/rep":
		if !h.IsGet() && !h.IsHead() {
			answer.NotAllowed(ctx, "GET, HEAD")
			return
		}
		if rep == nil {
			answer.Fail(ctx, http.StatusServiceUnavailable, "no service is known yet")
			return
		}
		answer.JSON(ctx, http.StatusOK, rep)
	case "/add":
		if !h.IsPost() {
			answer.NotAllowed(ctx, "POST")
			return
		}
		a.scale(ctx, service, events.APIAdd, "Length of hostname list is more than newly added instances")
	case "/rm":
		if !h.IsDelete() {
			answer.NotAllowed(ctx, "DELETE")
			return
		}
		a.scale(ctx, service, events.APIRemove, "Length of hostname list is more than removable instances")
	}
}

var call = &api.Call{Body: true} // /add and /rm

func (a *API) scale(ctx *fasthttp.RequestCtx, service, verb, tooMany string) {
	if len(ctx.Request.Body()) > maxScaleBody {
		answer.Fail(ctx, http.StatusRequestEntityTooLarge, "the body is too large")
		return
	}
	if database.Concerns(ctx.Request.Body()) {
		if verb == events.APIAdd {
			a.tables.Add(ctx)
		} else {
			a.tables.Remove(ctx)
		}
		return
	}
	req, err := parseScale(ctx.Request.Body())
	if err != nil {
		api.Fail(ctx, err)
		return
	}
	if req.N <= 0 {
		answer.Fail(ctx, http.StatusBadRequest, fmt.Sprintf("n is %d; it must be at least 1", req.N))
		return
	}
	if len(req.Names) > req.N {
		answer.Fail(ctx, http.StatusBadRequest, tooMany)
		return
	}
	if err := call.Check(ctx); err != nil {
		api.Fail(ctx, err)
		return
	}
	req.ID, req.Service = rand.Text(), service
	whole, cancel := context.WithTimeout(ctx, a.cfg.Scale) // ctx ends when the server stops
	defer cancel()
	var reply events.ScaleReply
	if err := api.Undecided(a.leader.Ask(whole, verb, req, &reply), "/rep"); err != nil {
		api.Fail(ctx, err)
		return
	}
	if err := a.services.Await(whole, cmp.Or(reply.Service, req.Service), reply.Epoch); err != nil {
		answer.Fail(ctx, http.StatusGatewayTimeout, fmt.Sprintf("outcome: request %s is done, but this router does not serve it yet", req.ID))
		return
	}
	answer.JSON(ctx, http.StatusOK, answer.Replicas(reply.Replicas))
}

// parseScale reads the body of /add and /rm; its errors name the field.
func parseScale(body []byte) (req events.ScaleRequest, err error) {
	o, err := strictjson.Parse(body)
	if err != nil {
		return req, err
	}
	o.OnlyOf(database.ServiceFields, database.DatabaseFields)
	req.N = o.Int("n")
	if o.Has("hostnames") {
		req.Names = o.Texts("hostnames")
	}
	return req, o.Err()
}
