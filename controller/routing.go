package controller

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"ringway/events"
	"ringway/router/ring"
	"ringway/router/ring/formula"
)

// routeServices brings each service's route in line with who can serve.
func (s *state) routeServices(now time.Time) (effects []effect) {
	for _, name := range sorted(s.services) {
		next := s.nextRoute(s.services[name].value)
		have, ok := s.routes[name]
		if ok && sameRoute(have.value, next) {
			continue
		}
		// Routers may still serve a route of a bus that was wiped: the first one
		// waits until it can be as good.
		if !ok && (!s.readyToPlace(now) || len(next.Members) == 0 && len(s.services[name].value.Replicas) > 0) {
			continue
		}
		slots, err := s.slots(s.services[name].value.Spec, have, next.Members)
		if err != nil {
			effects = append(effects, s.emitOnce(now, events.EntityService, name, err)...)
			continue
		}
		next.Slots = slots
		next.Decision = s.because(s.routeEvents(now, have, next)...)
		effects = append(effects, putRoute{value: next})
	}
	return effects
}

// nextRoute is the route without its slots.
func (s *state) nextRoute(svc events.Service) events.Route {
	spec := svc.Spec
	return events.Route{
		Service: spec.Name, Algorithm: spec.Algorithm, Functions: spec.Functions, LoadFactor: spec.LoadFactor,
		Key: spec.Key, Paths: spec.Paths, Timeout: spec.Timeout, Members: append(s.serving(svc), s.leaving(svc)...),
	}
}

// serving lists the replicas that are ready, in id order.
func (s *state) serving(svc events.Service) []events.Member {
	members := []events.Member{}
	out := s.suspects(svc)
	for _, r := range slices.SortedFunc(slices.Values(svc.Replicas), byID) {
		at, ok := s.placement(r.Name)
		if !ok || slices.Contains(out, at) {
			continue
		}
		h := s.hosts[at]
		if st, ok := h.status(r.Name); ok && st.State == events.Ready && st.Address != "" {
			members = append(members, member(r.Name, r.ID, at, st.Address, false))
		} else if h != nil && h.heartbeat == nil {
			// A new leader has not heard this host yet: what it served, it serves.
			if m, ok := s.routed(svc.Spec.Name, r.Name); ok && !m.Draining {
				members = append(members, m)
			}
		}
	}
	return members
}

// leaving lists the instances that finish what they have begun.
func (s *state) leaving(svc events.Service) (members []events.Member) {
	for _, at := range sorted(s.assigned) {
		for _, i := range s.assigned[at].value.Instances {
			m, routed := s.routed(svc.Spec.Name, i.Name)
			if i.Kind != "" || i.Service != svc.Spec.Name || isWanted(svc, i.Name) || !routed {
				continue
			}
			h := s.hosts[at]
			if st, ok := h.status(i.Name); h == nil || h.state == events.Lost || ok && st.State == events.Dead {
				continue
			}
			m.Draining = true
			members = append(members, m)
		}
	}
	return members
}

// suspects lists the hosts whose silence takes them out of rotation: longest
// silence first, and never so many that suspicion alone takes out more than
// half of the service.
func (s *state) suspects(svc events.Service) (out []string) {
	var silent []*host
	members := map[string]int{}
	for _, r := range svc.Replicas {
		if at, ok := s.placement(r.Name); ok {
			members[at]++
		}
	}
	for name := range members {
		if h := s.hosts[name]; h != nil && h.state != events.Alive {
			silent = append(silent, h)
		}
	}
	slices.SortFunc(silent, func(a, b *host) int {
		if d := a.seen.Compare(b.seen); d != 0 {
			return d
		}
		return cmp.Compare(a.name, b.name)
	})
	left := len(svc.Replicas) / 2
	for _, h := range silent {
		if members[h.name] <= left {
			left -= members[h.name]
			out = append(out, h.name)
		}
	}
	return out
}

func member(name string, id int, host, address string, draining bool) events.Member {
	return events.Member{Name: name, ID: id, Host: host, Address: address, Weight: 1, Draining: draining}
}

func (s *state) routed(service, instance string) (events.Member, bool) {
	r, ok := s.routes[service]
	if !ok {
		return events.Member{}, false
	}
	if i := slices.IndexFunc(r.value.Members, func(m events.Member) bool { return m.Name == instance }); i >= 0 {
		return r.value.Members[i], true
	}
	return events.Member{}, false
}

// owns reports whether a member of a route gets new requests.
func owns(r events.Route, name string) bool {
	return slices.ContainsFunc(r.Members, func(m events.Member) bool { return m.Name == name && !m.Draining })
}

// sameRoute compares all but slots and decision: these follow from the rest.
func sameRoute(a, b events.Route) bool {
	a.Slots, b.Slots, a.Decision, b.Decision = nil, nil, events.Decision{}, events.Decision{}
	if len(a.Paths) == 0 && len(b.Paths) == 0 {
		a.Paths, b.Paths = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// slots assigns the service's slots to the members that are not draining.
func (s *state) slots(spec events.ServiceSpec, have *stored[events.Route], members []events.Member) (events.Slots, error) {
	owners := ringMembers(members)
	if len(owners) == 0 {
		return slices.Repeat(events.Slots{events.NoOwner}, spec.Slots), nil
	}
	if spec.Algorithm == events.Course {
		fn, err := formula.Compile(spec.Functions.H, spec.Functions.Phi, spec.Slots, events.CourseK)
		if err != nil {
			return nil, err
		}
		t, err := ring.Course(spec.Slots, events.CourseK, owners, fn)
		if err != nil {
			return nil, err
		}
		return t.Slots(), nil
	}
	var before *ring.Table
	if have != nil && have.value.Algorithm == events.Balanced && len(have.value.Slots) == spec.Slots {
		before, _ = ring.FromSlots(have.value.Slots, ringMembersAll(have.value.Members), nil) // a table that cannot be read is built anew
	}
	t, err := ring.Balanced(spec.Slots, owners, before)
	if err != nil {
		return nil, err
	}
	return t.Slots(), nil
}

// ringMembers are the members that own slots. They stand first in a route, so
// their index in the table is their index in the route.
func ringMembers(members []events.Member) []ring.Member {
	return ringMembersAll(slices.DeleteFunc(slices.Clone(members), func(m events.Member) bool { return m.Draining }))
}

func ringMembersAll(members []events.Member) (out []ring.Member) {
	for _, m := range members {
		out = append(out, ring.Member{Name: m.Name, ID: m.ID, Weight: m.Weight})
	}
	return out
}

// routeEvents tells who came, went or began to drain.
func (s *state) routeEvents(now time.Time, have *stored[events.Route], next events.Route) []events.Event {
	var before events.Route
	if have != nil {
		before = have.value
	}
	joined, left, drains := []string{}, []string{}, []string{}
	var list []events.Event
	add := func(verb string, m events.Member, why string) {
		list = append(list, s.event(now, events.EntityInstance, verb, m.Name, map[string]any{"service": next.Service, "id": m.ID, "host": m.Host, "address": m.Address, "reason": why}))
	}
	for _, m := range next.Members {
		switch {
		case m.Draining && owns(before, m.Name):
			drains = append(drains, m.Name)
			add(events.VerbDraining, m, "no longer wanted")
		case !m.Draining && !owns(before, m.Name):
			joined = append(joined, m.Name)
			add(events.VerbReady, m, "passes its health probe")
		}
	}
	for _, m := range before.Members {
		if !slices.ContainsFunc(next.Members, func(n events.Member) bool { return n.Name == m.Name }) {
			left = append(left, m.Name)
			if !m.Draining {
				add(events.VerbUnready, m, s.whyAbsent(m))
			}
		}
	}
	return append(list, s.event(now, events.EntityRoute, events.VerbChanged, next.Service, map[string]any{
		"joined": joined, "left": left, "draining": drains, "members": len(next.Members) - countDraining(next.Members),
	}))
}

// whyAbsent says why a member left the rotation.
func (s *state) whyAbsent(m events.Member) string {
	h := s.hosts[m.Host]
	if h == nil || h.state != events.Alive {
		return "host " + m.Host + " is silent"
	}
	st, ok := h.status(m.Name)
	switch {
	case !ok:
		return "host " + m.Host + " does not have it"
	case st.Detail != "":
		return st.State + ": " + st.Detail
	}
	return st.State
}

func countDraining(members []events.Member) (n int) {
	for _, m := range members {
		if m.Draining {
			n++
		}
	}
	return n
}
