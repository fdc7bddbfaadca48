package router

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
	"ringway/router/database"
)

// The API of the course's first assignment. /rep is answered from the snapshot;
// /add and /rm are decided by the leader, and answered when this router serves
// what it decided.

// maxScaleBody is the size of the largest request to /add or /rm.
const maxScaleBody = 1 << 20

// assignment answers /rep, /add and /rm.
func (r *Router) assignment(ctx *fasthttp.RequestCtx, rt *routes) {
	h := &ctx.Request.Header
	switch string(pathOf(h.RequestURI())) {
	case "/rep":
		if !h.IsGet() && !h.IsHead() {
			answer.NotAllowed(ctx, "GET, HEAD")
			return
		}
		if rt.service == nil {
			r.unavailable(ctx, "no service is known yet")
			return
		}
		answer.JSON(ctx, fasthttp.StatusOK, rt.service.rep)
	case "/add":
		if !h.IsPost() {
			answer.NotAllowed(ctx, "POST")
			return
		}
		r.scale(ctx, rt, events.APIAdd, "Length of hostname list is more than newly added instances")
	case "/rm":
		if !h.IsDelete() {
			answer.NotAllowed(ctx, "DELETE")
			return
		}
		r.scale(ctx, rt, events.APIRemove, "Length of hostname list is more than removable instances")
	}
}

func (r *Router) scale(ctx *fasthttp.RequestCtx, rt *routes, verb, tooMany string) {
	if len(ctx.Request.Body()) > maxScaleBody {
		r.fail(ctx, fasthttp.StatusRequestEntityTooLarge, "the body is too large")
		return
	}
	if database.Concerns(ctx.Request.Body()) {
		if verb == events.APIAdd {
			r.database.Add(ctx)
		} else {
			r.database.Remove(ctx)
		}
		return
	}
	req, err := parseScale(ctx.Request.Body())
	if err != nil {
		r.fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	if req.N <= 0 {
		r.fail(ctx, fasthttp.StatusBadRequest, fmt.Sprintf("n is %d; it must be at least 1", req.N))
		return
	}
	if len(req.Names) > req.N {
		r.fail(ctx, fasthttp.StatusBadRequest, tooMany)
		return
	}
	req.ID = rand.Text()
	if rt.service != nil {
		req.Service = rt.service.name
	}
	whole, cancel := context.WithTimeout(ctx, r.cfg.Scale) // ctx ends when the server stops
	defer cancel()
	var reply events.ScaleReply
	if err := r.Ask(whole, verb, req, &reply); err != nil {
		r.refuseScale(ctx, err)
		return
	}
	if err := r.awaitEpoch(whole, cmp.Or(reply.Service, req.Service), reply.Epoch); err != nil {
		r.fail(ctx, fasthttp.StatusGatewayTimeout, fmt.Sprintf("outcome: request %s is done, but this router does not serve it yet", req.ID))
		return
	}
	answer.JSON(ctx, fasthttp.StatusOK, replicasBody(reply.Replicas))
}

func (r *Router) refuseScale(ctx *fasthttp.RequestCtx, err error) {
	var declined *events.StatusError
	switch {
	case errors.As(err, &declined):
		code := declined.Status()
		r.fail(ctx, code, declined.Message)
		if code == fasthttp.StatusServiceUnavailable {
			ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		}
	case errors.Is(err, events.ErrNoLeader):
		r.unavailable(ctx, "no controller answers; nothing was changed, try again")
	default:
		r.fail(ctx, fasthttp.StatusGatewayTimeout, "no answer from the controller: it may or may not happen; look at /rep")
	}
}

// Ask sends req until the leader answers, always with the same id. It returns
// the leader's refusal; events.ErrNoLeader if nobody can have acted on req; or
// events.ErrUnknownOutcome.
func (r *Router) Ask(ctx context.Context, verb string, req, reply any) error {
	heard := false // somebody may have acted on it
	pause := time.NewTimer(0)
	defer pause.Stop()
	for begun := time.Now(); ; {
		select {
		case <-ctx.Done():
			return noAnswer(heard)
		case <-pause.C:
		}
		if time.Since(begun) >= r.cfg.NoLeader && time.Since(time.Unix(0, r.leaderSeen.Load())) >= r.cfg.NoLeader {
			return noAnswer(heard)
		}
		attempt, cancel := context.WithTimeout(ctx, r.cfg.Attempt)
		err := r.bus.Request(attempt, verb, req, reply)
		cancel()
		var declined *events.StatusError
		switch {
		case err == nil, errors.As(err, &declined):
			return err
		case !errors.Is(err, events.ErrNoLeader):
			heard = true
		}
		pause.Reset(min(200*time.Millisecond, r.cfg.NoLeader/10))
	}
}

func noAnswer(heard bool) error {
	if heard {
		return events.ErrUnknownOutcome
	}
	return events.ErrNoLeader
}

// awaitEpoch returns when this router serves the epoch or a later one.
func (r *Router) awaitEpoch(ctx context.Context, service string, epoch events.Epoch) error {
	for {
		r.swap.Lock()
		s, changed := r.routes.Load().services[service], r.changed
		r.swap.Unlock()
		if epoch.Zero() || s != nil && (s.epoch == epoch || s.epoch.After(epoch)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// parseScale reads the body of /add and /rm; its errors name the field.
func parseScale(body []byte) (events.ScaleRequest, error) {
	var req events.ScaleRequest
	var fields map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&fields); err != nil || fields == nil {
		return req, errors.New("the body is no JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return req, errors.New("the body goes on after the JSON object")
	}
	raw, ok := fields["n"]
	if !ok {
		return req, errors.New("n is missing")
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return req, errors.New("n is not an integer")
	}
	req.N = n
	var names []json.RawMessage
	if raw, ok := fields["hostnames"]; ok {
		if err := json.Unmarshal(raw, &names); err != nil {
			return req, errors.New("hostnames is not a list")
		}
	}
	for i, raw := range names {
		var name *string
		if err := json.Unmarshal(raw, &name); err != nil || name == nil {
			return req, fmt.Errorf("hostnames[%d] is not a string", i)
		}
		req.Names = append(req.Names, *name)
	}
	return req, nil
}
