package services

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/router/ring"
	"ringway/router/ring/formula"
)

// Route brings each service's route in line with who can serve.
func Route(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		next := nextRoute(s, s.Services[name].Value)
		have, ok := s.Routes[name]
		if ok && sameRoute(have.Value, next) {
			continue
		}
		// Routers may still serve a route of a bus that was wiped: the first one
		// waits until it can be as good.
		if !ok && (!s.ReadyToPlace(now) || len(next.Members) == 0 && len(s.Services[name].Value.Replicas) > 0) {
			continue
		}
		slots, err := slots(s, s.Services[name].Value.Spec, have, next.Members)
		if err != nil {
			effects = append(effects, s.EmitOnce(now, events.EntityService, name, err)...)
			continue
		}
		next.Slots = slots
		next.Decision = s.Because(routeEvents(s, now, have, next)...)
		effects = append(effects, cluster.PutRoute{Value: next})
	}
	return effects
}

// nextRoute is the route without its slots.
func nextRoute(s *cluster.State, svc events.Service) events.Route {
	spec, members := svc.Spec, serving(s, svc)
	return events.Route{
		Service: spec.Name, Algorithm: spec.Algorithm, Functions: spec.Functions, LoadFactor: spec.LoadFactor,
		Key: spec.Key, Paths: spec.Paths, Timeout: spec.Timeout, Members: append(members, leaving(s, svc, members)...),
	}
}

// serving lists the replicas that are ready, in id order: in place of one that is
// being replaced what follows it, when that is ready.
func serving(s *cluster.State, svc events.Service) []events.Member {
	members := []events.Member{}
	out := suspects(s, svc)
	for _, r := range slices.SortedFunc(slices.Values(svc.Replicas), cluster.ByID) {
		for _, name := range []string{r.Next, r.Name} {
			if m, ok := memberOf(s, svc.Spec.Name, name, r.ID, out); ok {
				members = append(members, m)
				break
			}
		}
	}
	return members
}

// memberOf is an instance as a member that gets requests, if it can be one; silent
// lists the hosts that are out for their silence.
func memberOf(s *cluster.State, service, name string, id int, silent []string) (events.Member, bool) {
	at, ok := s.Placement(name)
	if !ok || slices.Contains(silent, at) {
		return events.Member{}, false
	}
	h := s.Hosts[at]
	if st, ok := h.Status(name); ok && st.State == events.Ready && st.Address != "" {
		return events.Member{Name: name, ID: id, Host: at, Address: st.Address, Weight: 1}, true
	}
	if h != nil && h.Heartbeat == nil {
		// A new leader has no heartbeat of this host yet: its members stay.
		m, ok := Routed(s, service, name)
		return m, ok && !m.Draining
	}
	return events.Member{}, false
}

// leaving lists the instances that finish what they have begun: those that are not
// wanted, and those whose requests another one gets.
func leaving(s *cluster.State, svc events.Service, serving []events.Member) (members []events.Member) {
	isMember := func(name string) bool {
		return slices.ContainsFunc(serving, func(m events.Member) bool { return m.Name == name })
	}
	wanted := func(name string) bool {
		return slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Name == name && !isMember(r.Next) || r.Next == name })
	}
	for _, at := range slices.Sorted(maps.Keys(s.Assigned)) {
		for _, i := range s.Assigned[at].Value.Instances {
			m, routed := Routed(s, svc.Spec.Name, i.Name)
			if i.Kind != "" || i.Service != svc.Spec.Name || wanted(i.Name) || !routed {
				continue
			}
			h := s.Hosts[at]
			if st, ok := h.Status(i.Name); h == nil || h.State == events.Lost || ok && st.State == events.Dead {
				continue
			}
			m.Draining = true
			members = append(members, m)
		}
	}
	return members
}

func Routed(s *cluster.State, service, instance string) (events.Member, bool) {
	r, ok := s.Routes[service]
	if !ok {
		return events.Member{}, false
	}
	if i := slices.IndexFunc(r.Value.Members, func(m events.Member) bool { return m.Name == instance }); i >= 0 {
		return r.Value.Members[i], true
	}
	return events.Member{}, false
}

// OwnsSlots reports whether a member of a route gets new requests.
func OwnsSlots(r events.Route, name string) bool {
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
func slots(s *cluster.State, spec events.ServiceSpec, have *cluster.Stored[events.Route], members []events.Member) (events.Slots, error) {
	owners := ringMembers(members[:len(members)-CountDraining(members)]) // who drains stands last
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
	if have != nil && have.Value.Algorithm == events.Balanced && len(have.Value.Slots) == spec.Slots {
		before, _ = ring.FromSlots(have.Value.Slots, ringMembers(have.Value.Members), nil) // a table that cannot be read is built from nothing
	}
	t, err := ring.Balanced(spec.Slots, owners, before)
	if err != nil {
		return nil, err
	}
	return t.Slots(), nil
}

func ringMembers(members []events.Member) (out []ring.Member) {
	for _, m := range members {
		out = append(out, ring.Member{Name: m.Name, ID: m.ID, Weight: m.Weight})
	}
	return out
}

// routeEvents are of members that came, went or began to drain.
func routeEvents(s *cluster.State, now time.Time, have *cluster.Stored[events.Route], next events.Route) []events.Event {
	var before events.Route
	if have != nil {
		before = have.Value
	}
	joined, left, drains := []string{}, []string{}, []string{}
	var list []events.Event
	add := func(verb string, m events.Member, why string) {
		list = append(list, s.Event(now, events.EntityInstance, verb, m.Name, map[string]any{"service": next.Service, "id": m.ID, "host": m.Host, "address": m.Address, "reason": why}))
	}
	for _, m := range next.Members {
		switch {
		case m.Draining && OwnsSlots(before, m.Name):
			drains = append(drains, m.Name)
			add(events.VerbDraining, m, whyDraining(s, m, next.Service))
		case !m.Draining && !OwnsSlots(before, m.Name):
			joined = append(joined, m.Name)
			add(events.VerbReady, m, "passes its health probe")
		}
	}
	for _, m := range before.Members {
		if !slices.ContainsFunc(next.Members, func(n events.Member) bool { return n.Name == m.Name }) {
			left = append(left, m.Name)
			if !m.Draining {
				add(events.VerbUnready, m, whyAbsent(s, m))
			}
		}
	}
	return append(list, s.Event(now, events.EntityRoute, events.VerbChanged, next.Service, map[string]any{
		"joined": joined, "left": left, "draining": drains, "members": len(next.Members) - CountDraining(next.Members),
	}))
}

func whyDraining(s *cluster.State, m events.Member, service string) string {
	if svc, ok := s.Services[service]; ok && cluster.IsWanted(svc.Value, m.Name) {
		return "what follows it is ready"
	}
	return "no longer wanted"
}

func CountDraining(members []events.Member) (n int) {
	for _, m := range members {
		if m.Draining {
			n++
		}
	}
	return n
}
