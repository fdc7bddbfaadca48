// Package services decides about services: how many replicas there are, where
// they run, what they run, and which of them routers send requests to.
package services

import (
	"cmp"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/events/strictjson"
)

// A request waits here until it is fulfilled.
type request struct {
	add      bool
	req      events.ScaleRequest
	service  string
	added    []string // as they were called then
	removed  []string // must own no slot at any router
	deadline time.Time
	done     func(any, error)
}

func (r *request) answer(reply any, err error) cluster.Effect {
	return cluster.Answer{Done: r.done, Reply: reply, Err: err}
}

// Requests holds the requests to add and to remove replicas.
type Requests struct {
	s        *cluster.State
	pending  []*request // accepted, and not answered
	deferred []*request // not accepted yet
}

func NewRequests(s *cluster.State) *Requests { return &Requests{s: s} }

// Verbs are the requests about replicas.
func (p *Requests) Verbs() map[string]cluster.Verb {
	scale := func(add bool) cluster.Verb {
		return func(body []byte) (cluster.Begin, error) {
			var req events.ScaleRequest
			if err := strictjson.Decode(body, &req); err != nil {
				return nil, err
			}
			req.ID = cmp.Or(req.ID, rand.Text())
			return func(now time.Time, done func(any, error)) []cluster.Effect {
				return p.accept(&request{add: add, req: req, deadline: now.Add(p.s.Cfg.RequestTimeout), done: done}, now)
			}, nil
		}
	}
	return map[string]cluster.Verb{events.APIAdd: scale(true), events.APIRemove: scale(false)}
}

// accept makes a new desired state of a request, or refuses it. A request
// that was accepted before, perhaps by another leader, changes nothing again.
func (p *Requests) accept(r *request, now time.Time) []cluster.Effect {
	s := p.s
	svc, err := findService(s, r.req.Service)
	if err != nil {
		return []cluster.Effect{r.answer(nil, err)}
	}
	r.service = svc.Spec.Name
	if err := cluster.CheckID(r.req.ID); err != nil {
		return []cluster.Effect{r.answer(nil, err)}
	}
	if a, ok := cluster.PreviousAnswer(svc.Answered, r.req.ID); ok {
		r.removed, r.added = a.Removed, a.Added
		p.pending = append(p.pending, r)
		return nil
	}

	before := len(svc.Replicas)
	done := events.Answered{Request: r.req.ID}
	if r.add {
		if err = checkAdd(s, svc, r.req, now.Before(r.deadline)); errors.Is(err, errDeferred) {
			p.deferred = append(p.deferred, r)
			return nil
		}
		if err == nil {
			svc.Replicas, done.Added = addReplicas(s, svc, r.req.N, r.req.Names, r.req.ID)
		}
	} else {
		if err = checkRemove(s, svc, r.req); err == nil {
			svc.Replicas, done.Removed = removeReplicas(s, svc, r.req.N, r.req.Names)
		}
	}
	svc.Spec.Replicas = len(svc.Replicas)
	if err == nil {
		err = unstorable(svc)
	}
	if err != nil {
		return []cluster.Effect{r.answer(nil, err)}
	}
	r.added, r.removed = done.Added, done.Removed
	svc.Answered = cluster.RememberAnswer(svc.Answered, done, s.Cfg.RememberedRequests)
	svc.Decision = s.Because(s.Event(now, events.EntityService, events.VerbScaled, svc.Spec.Name, map[string]any{
		"reason": "request " + r.req.ID, "added": append([]string{}, done.Added...), "removed": append([]string{}, done.Removed...), "from": before, "to": len(svc.Replicas),
	}))
	if err := cluster.CheckStorable("service '"+svc.Spec.Name+"'", svc); err != nil && r.add {
		return []cluster.Effect{r.answer(nil, err)}
	}
	p.pending = append(p.pending, r)
	return []cluster.Effect{cluster.PutService{Value: svc}}
}

// errDeferred: what a request needs is about to be free.
var errDeferred = errors.New("later")

// AcceptDeferred takes up again the requests that were too early.
func (p *Requests) AcceptDeferred(now time.Time) []cluster.Effect {
	early := p.deferred
	p.deferred = nil
	for i, r := range early {
		if effects := p.accept(r, now); len(effects) > 0 {
			p.deferred = append(p.deferred, early[i+1:]...)
			return effects
		}
	}
	return nil
}

// Reply answers the requests that are fulfilled, or whose time is up.
func (p *Requests) Reply(now time.Time) (effects []cluster.Effect) {
	s := p.s
	p.pending = slices.DeleteFunc(p.pending, func(r *request) bool {
		route, ok := s.Routes[r.service]
		missing := waitingFor(s, r)
		lost := cluster.RemovedMeanwhile(r.added, s.Services[r.service].Value.Replicas, r.has)
		switch {
		case lost != nil:
			effects = append(effects, r.answer(nil, lost))
		case ok && missing == "" && s.Served(r.service, route.Version, now):
			effects = append(effects, r.answer(scaled(s, r), nil))
		case !now.Before(r.deadline):
			effects = append(effects, r.answer(nil, events.StatusErrorf(http.StatusGatewayTimeout,
				"accepted, but not finished in time: %s; the controller goes on with it", missing)))
		default:
			return false
		}
		return true
	})
	return effects
}

// waitingFor is what a request still waits for.
func waitingFor(s *cluster.State, r *request) string {
	route, ok := s.Routes[r.service]
	if !ok {
		return "the service is gone"
	}
	for _, name := range r.removed {
		if OwnsSlots(route.Value, name) {
			return name + " is still in rotation"
		}
	}
	for _, x := range s.Services[r.service].Value.Replicas {
		if r.has(x) && !serves(s, r.service, x) {
			return x.Name + " is not ready yet"
		}
	}
	return ""
}

// has reports whether a replica is one that the request added, or its
// replacement.
func (r *request) has(x events.Replica) bool { return r.add && x.Request == r.req.ID }

func scaled(s *cluster.State, r *request) events.ScaleReply {
	route := s.Routes[r.service]
	reply := events.ScaleReply{Service: r.service, Replicas: []string{}, Removed: r.removed, Epoch: route.Version}
	replicas := s.Services[r.service].Value.Replicas
	for _, m := range route.Value.Members {
		if !m.Draining {
			reply.Replicas = append(reply.Replicas, m.Name)
			if slices.ContainsFunc(replicas, func(x events.Replica) bool { return (x.Name == m.Name || x.Next == m.Name) && r.has(x) }) {
				reply.Added = append(reply.Added, m.Name)
			}
		}
	}
	return reply
}
