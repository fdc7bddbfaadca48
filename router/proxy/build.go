package proxy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"ringway/events"
	"ringway/router/answer"
	"ringway/router/ring"
)

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
// their *member: connections, requests in flight, ejection.
func (b *builder) build(route events.Route, epoch events.Epoch, old *service) (*service, error) {
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
		paths: make(map[string]struct{}, len(route.Paths)), membership: route.Members,
	}
	for _, p := range route.Paths {
		s.paths[p] = struct{}{}
	}
	s.join(b, route, old)
	s.bound(route)
	s.list(route)
	return s, nil
}

// join gives every member of the route the member that old has, or a new one.
func (s *service) join(b *builder, route events.Route, old *service) {
	known := map[[2]string]*member{}
	s.load = new(atomic.Int64)
	if old != nil {
		s.load = old.load
		for _, m := range old.members {
			known[[2]string{m.name, m.address}] = m
		}
	}
	s.members = make([]*member, len(route.Members))
	for i, r := range route.Members {
		m := known[[2]string{r.Name, r.Address}]
		if m == nil {
			m = b.newMember(s.name, r, s.load)
		}
		s.members[i] = m
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
	s.rep = answer.Replicas(s.replicas)
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
