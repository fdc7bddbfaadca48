package services

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Replace gives the place of a dead instance to a new one.
func Replace(s *cluster.State, now time.Time) (effects []cluster.Effect) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name].Value
		svc.Replicas = slices.Clone(svc.Replicas)
		var cause []events.Event
		for i, old := range svc.Replicas {
			why, at := failureOf(s, old.Name, now)
			place := cluster.ReplicaKey{Service: name, ID: old.ID}
			if why == "" || !s.MayReplace(place, now) {
				continue
			}
			loops := s.RecordFailure(place, cluster.WasReady(s, old.Name), now)
			svc.Replicas[i] = successor(s, svc, old)
			cause = append(cause,
				s.Event(now, events.EntityInstance, events.VerbDied, old.Name, map[string]any{"service": name, "id": old.ID, "host": at, "reason": why}),
				s.Event(now, events.EntityInstance, events.VerbReplaced, old.Name, map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
			if loops != "" {
				cause = append(cause, s.Event(now, events.EntityInstance, events.VerbLooping, svc.Replicas[i].Name, map[string]any{"service": name, "id": old.ID, "reason": loops + "; the last one: " + why}))
			}
		}
		if len(cause) > 0 {
			svc.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutService{Value: svc})
		}
	}
	return effects
}

// successor takes the place of a replica that failed: the instance that was to
// follow it, unless that runs what has not proved good yet.
func successor(s *cluster.State, svc events.Service, old events.Replica) events.Replica {
	next := events.Replica{Name: old.Next, ID: old.ID, Request: old.Request}
	if next.Name == "" || changed(instanceSpec(runs(svc), next), instanceSpec(target(svc), next)) != "" {
		next.Name, next.Next = cluster.FreshName(s, svc), old.Next
	}
	return next
}
