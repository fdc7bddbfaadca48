package services

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Place assigns every wanted instance that has no host to one: where it
// runs already, else to the live host with the fewest of its service.
func Place(s *cluster.State, next *cluster.Placements, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name].Value
		for _, r := range InstancesOf(svc) {
			spec := runs(svc)
			if !cluster.IsReplica(svc, r.Name) {
				spec = target(svc)
			}
			if _, ok := s.Placement(r.Name); ok {
				continue
			}
			at := choose(s, name, r.Name, next, now)
			if at == "" || next.Full(at) {
				continue // no host is alive; a heartbeat brings us back here, or the next round
			}
			next.Add(at, instanceSpec(spec, r), s.Event(now, events.EntityInstance, events.VerbAssigned, r.Name, map[string]any{"service": name, "id": r.ID, "host": at}))
		}
	}
}

// choose picks a host for an instance; next holds what this round has placed.
func choose(s *cluster.State, service, instance string, next *cluster.Placements, now time.Time) string {
	best, fewest := "", [2]int{}
	for _, name := range s.Alive() {
		if st, ok := s.Hosts[name].Status(instance); ok && st.State != events.Dead {
			return name
		}
		if cluster.Refused(s, events.BucketAssign, name, now) {
			continue // it would get nothing
		}
		a := next.Of(name)
		load := [2]int{0, len(a.Instances)}
		for _, i := range a.Instances {
			if i.Kind == "" && i.Service == service {
				load[0]++
			}
		}
		if best == "" || slices.Compare(load[:], fewest[:]) < 0 {
			best, fewest = name, load
		}
	}
	return best
}

// RequestsEnded reports whether no router has a request at an instance, nor
// will send one.
func RequestsEnded(s *cluster.State, i events.InstanceSpec, now time.Time) (string, bool) {
	route, ok := s.Routes[i.Service]
	if !ok {
		return "never routed to", true
	}
	if OwnsSlots(route.Value, i.Name) || !s.Served(i.Service, route.Version, now) {
		return "", false
	}
	for _, r := range s.Routers {
		if r.Heartbeat.InFlight[i.Service][i.Name] > 0 && s.Silence(r.Seen, now) < s.Cfg.SuspectAfter {
			return "", false
		}
	}
	return "drained", true
}

// runs is what replicas of the service are to be started with: what was good,
// until what is configured has proved to be.
func runs(svc events.Service) events.ServiceSpec {
	if svc.Before != nil && (svc.Stuck != "" || !svc.Proven) {
		return *svc.Before
	}
	return svc.Spec
}

// target is what replicas are to run in the end, and what follows them is started with.
func target(svc events.Service) events.ServiceSpec {
	if svc.Before != nil && svc.Stuck != "" {
		return *svc.Before
	}
	return svc.Spec
}

func instanceSpec(spec events.ServiceSpec, r events.Replica) events.InstanceSpec {
	return events.InstanceSpec{
		Name: r.Name, Service: spec.Name, ID: r.ID, Command: spec.Command, Env: spec.Env,
		Image: spec.Image, Port: spec.Port, Limits: spec.Limits, Health: spec.Health, Grace: spec.Grace,
	}
}

// InstancesOf lists all that shall run of a service: its replicas and what
// will follow them.
func InstancesOf(svc events.Service) (all []events.Replica) {
	for _, r := range svc.Replicas {
		all = append(all, events.Replica{Name: r.Name, ID: r.ID})
		if r.Next != "" {
			all = append(all, events.Replica{Name: r.Next, ID: r.ID})
		}
	}
	return all
}
