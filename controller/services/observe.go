package services

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// failureOf is why an instance has to be replaced, if it has to, and where it was.
func failureOf(s *cluster.State, instance string, now time.Time) (why, at string) {
	at, ok := s.Placement(instance)
	if !ok {
		return "", ""
	}
	h := s.Hosts[at]
	if h != nil && h.State == events.Lost {
		if len(s.Alive()) == 0 {
			return "", at // nowhere to go; it may well be serving
		}
		return "host " + at + " is lost", at
	}
	return s.Failure(h, instance, now), at
}

// outdatedBecause is why an instance has to be replaced, if it has to. Nothing is
// decided about a silent host: what it runs may well serve.
func outdatedBecause(s *cluster.State, spec events.ServiceSpec, instance string) string {
	at, ok := s.Placement(instance)
	if !ok || s.Hosts[at] == nil || s.Hosts[at].Heartbeat == nil || s.Hosts[at].State != events.Alive {
		return ""
	}
	instances := s.Assigned[at].Value.Instances
	have := instances[slices.IndexFunc(instances, func(i events.InstanceSpec) bool { return i.Name == instance })]
	return changed(have, instanceSpec(spec, events.Replica{}))
}

// changed is what differs about how instances are started.
func changed(have, want events.InstanceSpec) string {
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

// serves reports whether a replica, or what follows it, owns slots.
func serves(s *cluster.State, service string, r events.Replica) bool {
	route, ok := s.Routes[service]
	return ok && (OwnsSlots(route.Value, r.Name) || r.Next != "" && OwnsSlots(route.Value, r.Next))
}

// isReady reports whether an instance is ready on a host that is not silent.
func isReady(s *cluster.State, instance string) bool {
	at, ok := s.Placement(instance)
	if !ok || !s.HostAlive(at) {
		return false
	}
	st, ok := s.Hosts[at].Status(instance)
	return ok && st.State == events.Ready && st.Address != ""
}
