package controller

import (
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// renew replaces what runs something else than its service now says, because
// the configuration changed. What serves goes one at a time, and only while
// all others serve: a command that does not work costs one replica at most.
// What does not serve is replaced at once, for waiting would help nobody.
func (s *state) renew(now time.Time) (effects []effect) {
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		svc.Replicas = slices.Clone(svc.Replicas)
		mayStop := !slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return !s.serves(name, r) })
		var cause []events.Event
		for i, old := range svc.Replicas {
			why := s.outdated(svc.Spec, old)
			serves := s.serves(name, old)
			if why == "" || serves && !mayStop {
				continue
			}
			mayStop = false
			svc.Replicas[i].Name = s.freshName(svc)
			cause = append(cause, s.event(now, events.EntityInstance, events.VerbReplaced, old.Name,
				map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
		}
		if len(cause) > 0 {
			svc.Decision = s.because(cause...)
			effects = append(effects, putService{svc})
		}
	}
	return effects
}

// outdated says why a replica has to be renewed, if it has to. A silent host is
// not judged: what it runs may well serve.
func (s *state) outdated(spec events.ServiceSpec, r events.Replica) string {
	at, ok := s.placement(r.Name)
	if !ok || s.hosts[at] == nil || s.hosts[at].beat == nil || s.hosts[at].state != events.Alive {
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

// serves reports whether a replica owns slots.
func (s *state) serves(service string, r events.Replica) bool {
	route, ok := s.routes[service]
	return ok && owns(route.value, r.Name)
}
