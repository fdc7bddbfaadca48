package services

import (
	"slices"

	"ringway/controller/cluster"
	"ringway/events"
)

// addReplicas adds n replicas, the named ones first.
func addReplicas(s *cluster.State, svc events.Service, n int, names []string, request string) (all []events.Replica, added []string) {
	svc.Replicas = slices.Clone(svc.Replicas)
	for i := range n {
		var name string
		if i < len(names) {
			name = names[i]
		} else {
			name = cluster.FreshName(s, svc)
		}
		svc.Replicas = append(svc.Replicas, events.Replica{Name: name, ID: cluster.FreeID(svc.Replicas, func(r events.Replica) int { return r.ID }), Request: request})
		added = append(added, name)
	}
	return svc.Replicas, added
}

// removeReplicas removes n replicas, the named ones first, then random ones: of those
// that do not serve, and only then of those that do.
func removeReplicas(s *cluster.State, svc events.Service, n int, names []string) (left []events.Replica, removed []string) {
	left, removed = slices.Clone(svc.Replicas), slices.Clone(names)
	order := s.Rng.Perm(len(left))
	slices.SortStableFunc(order, func(a, b int) int {
		return cluster.FalseFirst(serves(s, svc.Spec.Name, left[a]), serves(s, svc.Spec.Name, left[b]))
	})
	for _, i := range order {
		if pick := left[i].Name; len(removed) < n && !slices.Contains(removed, pick) {
			removed = append(removed, pick)
		}
	}
	left = slices.DeleteFunc(left, func(r events.Replica) bool { return slices.Contains(removed, r.Name) })
	return left, removed
}

// resize follows a configured count.
func resize(s *cluster.State, svc events.Service, n int) []events.Replica {
	switch have := len(svc.Replicas); {
	case n > have:
		svc.Replicas, _ = addReplicas(s, svc, n-have, nil, "")
	case n < have:
		svc.Replicas, _ = removeReplicas(s, svc, have-n, nil)
	}
	return svc.Replicas
}

func replicaNames(replicas []events.Replica) []string {
	names := []string{}
	for _, r := range replicas {
		names = append(names, r.Name)
	}
	return names
}
