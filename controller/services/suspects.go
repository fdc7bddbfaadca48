package services

import (
	"cmp"
	"slices"

	"ringway/controller/cluster"
	"ringway/events"
)

// suspects lists the hosts whose silence takes their replicas of a service out of
// rotation. Silence is no proof: the network or the leader may be at fault, and
// then a silent host serves as well as before. If many are silent at once that is
// the likelier cause, and taking all of them out would end the service. Therefore
// suspicion takes out half of the service's replicas at most: whole hosts, the
// longest silent first, skipping one whose replicas would exceed the half. What an
// agent reports as dead or not ready leaves the rotation without any limit, for
// that is known.
func suspects(s *cluster.State, svc events.Service) (out []string) {
	var silent []*cluster.Host
	members := map[string]int{}
	for _, r := range svc.Replicas {
		name := r.Name
		if at, ok := s.Placement(r.Next); ok {
			if st, ok := s.Hosts[at].Status(r.Next); ok && st.State == events.Ready { // it gets the requests
				name = r.Next
			}
		}
		if at, ok := s.Placement(name); ok {
			members[at]++
		}
	}
	for name := range members {
		if h := s.Hosts[name]; h != nil && h.State != events.Alive {
			silent = append(silent, h)
		}
	}
	slices.SortFunc(silent, func(a, b *cluster.Host) int { return cmp.Or(a.Seen.Compare(b.Seen), cmp.Compare(a.Name, b.Name)) })
	left := len(svc.Replicas) / 2
	for _, h := range silent {
		if members[h.Name] <= left {
			left -= members[h.Name]
			out = append(out, h.Name)
		}
	}
	return out
}

// whyAbsent is why a member left the rotation.
func whyAbsent(s *cluster.State, m events.Member) string {
	h := s.Hosts[m.Host]
	if h == nil || h.State != events.Alive {
		return "host " + m.Host + " is silent"
	}
	st, ok := h.Status(m.Name)
	switch {
	case !ok:
		return "host " + m.Host + " does not have it"
	case st.Detail != "":
		return st.State + ": " + st.Detail
	}
	return st.State
}
