package services

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// RollOut is the rolling update of services whose configuration has changed. A
// replica that serves gets a successor, one at a time and only while all others
// serve, and is replaced when the successor is ready. If that does not become
// ready, the update halts. Replicas that do not serve are replaced at once.
func RollOut(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name].Value
		svc.Replicas = slices.Clone(svc.Replicas)
		cause := finishReplacements(s, &svc, now)
		if cause == nil {
			cause = startReplacements(s, &svc, now)
		}
		if len(cause) > 0 {
			svc.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutService{Value: svc})
		}
	}
	return effects
}

// finishReplacements lets the next of a replica take its place when it is ready, and gives
// it up when it has failed.
func finishReplacements(s *cluster.State, svc *events.Service, now time.Time) (cause []events.Event) {
	for i, r := range svc.Replicas {
		if r.Next == "" {
			continue
		}
		at, placed := s.Placement(r.Next)
		st, known := s.Hosts[at].Status(r.Next)
		why, _ := failureOf(s, r.Next, now)
		switch {
		case placed && known && st.State == events.Ready && st.Address != "" && s.Hosts[at].State == events.Alive:
			svc.Replicas[i] = events.Replica{Name: r.Next, ID: r.ID, Request: r.Request}
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbReplaced, r.Name,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "by": r.Next, "reason": "the configuration changed, and " + r.Next + " is ready"}))
		case why != "" && s.Hosts[at].State == events.Lost:
			svc.Replicas[i].Next = "" // the lost host is no failure of the new configuration
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbDied, r.Next,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "host": at, "reason": why}))
		case why != "":
			svc.Replicas[i].Next = ""
			svc.Stuck = r.Next + ", the first with the new configuration, did not become ready: " + why
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbDied, r.Next,
				map[string]any{"service": svc.Spec.Name, "id": r.ID, "host": at, "reason": why}),
				s.Event(now, events.EntityService, events.VerbHalted, svc.Spec.Name, map[string]any{"reason": svc.Stuck}))
		}
	}
	return cause
}

// startReplacements finds what is to be replaced next.
func startReplacements(s *cluster.State, svc *events.Service, now time.Time) (cause []events.Event) {
	name := svc.Spec.Name
	mayFollow := svc.Stuck == "" && !slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Next != "" || !serves(s, name, r) })
	for i, old := range svc.Replicas {
		why := outdatedBecause(s, svc.Runs(), old)
		switch serves := serves(s, name, old); {
		case why == "" || old.Next != "" || serves && !mayFollow:
		case serves:
			mayFollow = false
			svc.Replicas[i].Next = cluster.FreshName(s, *svc)
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbCreated, svc.Replicas[i].Next,
				map[string]any{"service": name, "id": old.ID, "follows": old.Name, "reason": why}))
		default:
			svc.Replicas[i].Name = cluster.FreshName(s, *svc)
			cause = append(cause, s.Event(now, events.EntityInstance, events.VerbReplaced, old.Name,
				map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
		}
	}
	return cause
}

// outdatedBecause is why a replica has to be replaced, if it has to. Nothing is
// decided about a silent host: what it runs may well serve.
func outdatedBecause(s *cluster.State, spec events.ServiceSpec, r events.Replica) string {
	at, ok := s.Placement(r.Name)
	if !ok || s.Hosts[at] == nil || s.Hosts[at].Heartbeat == nil || s.Hosts[at].State != events.Alive {
		return ""
	}
	instances := s.Assigned[at].Value.Instances
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
func serves(s *cluster.State, service string, r events.Replica) bool {
	route, ok := s.Routes[service]
	return ok && OwnsSlots(route.Value, r.Name)
}
