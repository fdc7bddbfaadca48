package controller

import (
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// rollOutServices replaces what runs something else than its service now says, because
// the configuration changed. What serves is followed, one at a time, by an
// instance that is ready first, and only while all others serve; if that one
// does not become ready, the change is rolled out no further. What does not
// serve is replaced at once, for waiting would help nobody.
func (s *state) rollOutServices(now time.Time) (effects []effect) {
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		svc.Replicas = slices.Clone(svc.Replicas)
		cause := s.finishReplacements(&svc, now)
		if cause == nil {
			cause = s.startReplacements(&svc, now)
		}
		if len(cause) > 0 {
			svc.Decision = s.because(cause...)
			effects = append(effects, putService{value: svc})
		}
	}
	return effects
}

// finishReplacements lets the next of a replica take its place when it is ready, and gives
// it up when it has failed.
func (s *state) finishReplacements(svc *events.Service, now time.Time) (cause []events.Event) {
	for i, r := range svc.Replicas {
		if r.Next == "" {
			continue
		}
		at, placed := s.placement(r.Next)
		st, known := s.hosts[at].status(r.Next)
		why, _ := s.failureOf(r.Next, now)
		switch {
		case placed && known && st.State == events.Ready && st.Address != "" && s.hosts[at].state == events.Alive:
			svc.Replicas[i] = events.Replica{Name: r.Next, ID: r.ID, Request: r.Request}
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbReplaced, r.Name,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "by": r.Next, "reason": "the configuration changed, and " + r.Next + " is ready"}))
		case why != "" && s.hosts[at].state == events.Lost:
			svc.Replicas[i].Next = "" // its host is gone; that says nothing of the change
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbDied, r.Next,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "host": at, "reason": why}))
		case why != "":
			svc.Replicas[i].Next = ""
			svc.Stuck = r.Next + ", the first with the new configuration, did not become ready: " + why
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbDied, r.Next,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "host": at, "reason": why}),
				s.event(now, events.EntityService, events.VerbHalted, svc.Spec.Name, map[string]any{"reason": svc.Stuck}))
		}
	}
	return cause
}

// startReplacements finds what is to be replaced next.
func (s *state) startReplacements(svc *events.Service, now time.Time) (cause []events.Event) {
	name := svc.Spec.Name
	mayFollow := svc.Stuck == "" && !slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Next != "" || !s.ownsSlots(name, r) })
	for i, old := range svc.Replicas {
		why := s.outdatedBecause(svc.Runs(), old)
		switch serves := s.ownsSlots(name, old); {
		case why == "" || old.Next != "" || serves && !mayFollow:
		case serves:
			mayFollow = false
			svc.Replicas[i].Next = s.freshName(*svc)
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbCreated, svc.Replicas[i].Next,
				map[string]any{"service": name, "id": old.ID, "follows": old.Name, "reason": why}))
		default:
			svc.Replicas[i].Name = s.freshName(*svc)
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbReplaced, old.Name,
				map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
		}
	}
	return cause
}

// instancesOf lists all that shall run of a service: its replicas and what
// will follow them.
func instancesOf(svc events.Service) (all []events.Replica) {
	for _, r := range svc.Replicas {
		all = append(all, events.Replica{Name: r.Name, ID: r.ID})
		if r.Next != "" {
			all = append(all, events.Replica{Name: r.Next, ID: r.ID})
		}
	}
	return all
}

// outdatedBecause says why a replica has to be renewed, if it has to. A silent host is
// not judged: what it runs may well serve.
func (s *state) outdatedBecause(spec events.ServiceSpec, r events.Replica) string {
	at, ok := s.placement(r.Name)
	if !ok || s.hosts[at] == nil || s.hosts[at].heartbeat == nil || s.hosts[at].state != events.Alive {
		return ""
	}
	instances := s.assigned[at].value.Instances
	have := instances[slices.IndexFunc(instances, func(i events.InstanceSpec) bool { return i.Name == r.Name })]
	want := instanceSpec(spec, r)
	switch {
	case !slices.Equal(have.Command, want.Command):
		return "another command is configured"
	case !maps.Equal(have.Env, want.Env):
		return "another environment is configured"
	case have.Image != want.Image || have.Port != want.Port:
		return "another image or port is configured"
	case have.Limits != want.Limits:
		return "other limits are configured"
	case have.Health != want.Health:
		return "another health path is configured"
	case have.Grace != want.Grace:
		return "another grace is configured"
	}
	return ""
}

// ownsSlots reports whether a replica owns slots.
func (s *state) ownsSlots(service string, r events.Replica) bool {
	route, ok := s.routes[service]
	return ok && owns(route.value, r.Name)
}
