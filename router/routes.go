package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/router/ring"
)

// routes is one immutable snapshot of all that a request needs to know.
type routes struct {
	services map[string]*service
	service  *service  // the default service: there is one for now; nil if none
	departed []*member // named by no route any more, but with requests in flight at the swap
}

// service is the compiled route of one service.
type service struct {
	name       string
	epoch      events.Epoch
	table      *ring.Table
	members    []*member // in the order that the table refers to
	bounds     []float64 // by member: load factor times weighted share; nil: no bound
	load       *atomic.Int64
	key        keySource
	paths      map[string]struct{} // declared; empty: every path is forwarded
	timeout    time.Duration
	replicas   []string        // those that serve, in id order
	rep        []byte          // the answer to /rep
	value      json.RawMessage // the route as it came
	membership []events.Member
}

// full tells whether member i has as many requests in flight as bounded load
// allows: at most ceil(load factor · (in flight + 1) · weighted share).
func (s *service) full(i int) bool {
	if s.bounds == nil {
		return false
	}
	return float64(s.members[i].inflight.Load()) >= s.bounds[i]*float64(s.load.Load()+1)
}

// choose is the next choice for a slot, clockwise: the first member that is up
// and has room, else one that is up, else, as a last resort, one that is
// ejected. It does not look at those in tried; -1 if nobody is left.
func (s *service) choose(slot int, tried *ring.Set) int {
	var seen ring.Set
	if tried != nil {
		seen = *tried
	}
	atLimit, ejected := -1, -1
	owner := s.table.Owner(slot)
	for {
		if owner < 0 || seen.Has(owner) {
			if slot, owner = s.table.Next(slot, &seen); owner < 0 {
				break
			}
		}
		switch {
		case !s.members[owner].up():
			if ejected < 0 {
				ejected = owner
			}
		case s.full(owner):
			if atLimit < 0 {
				atLimit = owner
			}
		default:
			return owner
		}
		seen.Add(owner)
	}
	if atLimit >= 0 {
		return atLimit
	}
	return ejected
}

// CompileH makes the request hash H of course, for a table of so many slots.
type CompileH func(f events.CourseFunctions, slots int) (func(uint64) uint64, error)

// builder compiles routes. It is used by one goroutine at a time.
type builder struct {
	compile   CompileH
	newMember func(service string, m events.Member, load *atomic.Int64) *member

	functions events.CourseFunctions // of requests: 1.8 MB that rarely change
	requests  []uint16
	size      int
}

// build compiles a route. Members that old knows by name and address keep
// their upstream: connections, requests in flight, ejection.
func (b *builder) build(route events.Route, epoch events.Epoch, value []byte, old *service) (*service, error) {
	key, err := newKeySource(route.Key)
	if err != nil {
		return nil, err
	}
	if route.Timeout <= 0 {
		return nil, fmt.Errorf("timeout: %s is too short", route.Timeout)
	}
	if f := route.LoadFactor; math.IsNaN(f) || f != 0 && (f < 1 || f > 100) {
		return nil, fmt.Errorf("load_factor: %v is out of range; use 0 (off) or 1 to 100", f)
	}
	var requests []uint16
	switch route.Algorithm {
	case events.Balanced:
	case events.Course:
		if requests, err = b.requestSlots(route.Functions, len(route.Slots)); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("algorithm: %q is unknown", route.Algorithm)
	}
	members := make([]ring.Member, len(route.Members))
	for i, m := range route.Members {
		members[i] = ring.Member{Name: m.Name, ID: m.ID, Weight: m.Weight}
	}
	table, err := ring.FromSlots(route.Slots, members, requests)
	if err != nil {
		return nil, err
	}
	for i, n := range table.Shares() {
		if n > 0 && route.Members[i].Draining {
			return nil, fmt.Errorf("member %q drains and owns %d slots", route.Members[i].Name, n)
		}
	}
	s := &service{
		name: route.Service, epoch: epoch, table: table, key: key, timeout: route.Timeout.D(),
		paths: make(map[string]struct{}, len(route.Paths)), value: slices.Clone(value), membership: route.Members,
	}
	for _, p := range route.Paths {
		s.paths[p] = struct{}{}
	}
	s.join(b, route, old)
	s.bound(route)
	s.list(route)
	return s, nil
}

// join gives every member its upstream.
func (s *service) join(b *builder, route events.Route, old *service) {
	known := map[[2]string]*member{}
	s.load = new(atomic.Int64)
	if old != nil {
		s.load = old.load
		for _, u := range old.members {
			known[[2]string{u.name, u.address}] = u
		}
	}
	s.members = make([]*member, len(route.Members))
	for i, m := range route.Members {
		u := known[[2]string{m.Name, m.Address}]
		if u == nil {
			u = b.newMember(s.name, m, s.load)
		}
		s.members[i] = u
	}
}

func (s *service) bound(route events.Route) {
	if route.LoadFactor == 0 || route.Algorithm == events.Course {
		return
	}
	sum := 0.0
	for _, m := range route.Members {
		if !m.Draining {
			sum += m.Weight
		}
	}
	s.bounds = make([]float64, len(route.Members))
	for i, m := range route.Members {
		if !m.Draining {
			s.bounds[i] = route.LoadFactor * m.Weight / sum
		}
	}
}

func (s *service) list(route events.Route) {
	serving := slices.DeleteFunc(slices.Clone(route.Members), func(m events.Member) bool { return m.Draining })
	slices.SortFunc(serving, func(a, b events.Member) int { return a.ID - b.ID })
	s.replicas = make([]string, len(serving))
	for i, m := range serving {
		s.replicas[i] = m.Name
	}
	s.rep = replicasBody(s.replicas)
}

// requestSlots is the slot of each request id of course.
func (b *builder) requestSlots(f events.CourseFunctions, size int) ([]uint16, error) {
	if size == 0 || b.requests != nil && b.size == size && b.functions == f {
		return b.requests, nil
	}
	h := ring.Official().H
	if f != (events.CourseFunctions{}) {
		if b.compile == nil {
			return nil, errors.New("functions: this router knows only the official ones")
		}
		var err error
		if h, err = b.compile(f, size); err != nil {
			return nil, fmt.Errorf("functions: %w", err)
		}
	}
	b.functions, b.size, b.requests = f, size, ring.Requests(size, h)
	return b.requests, nil
}
