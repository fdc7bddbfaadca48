package proxy

import "ringway/router/ring"

// enter picks the member for a hash, but none of those in tried, and counts the
// request in there; nil if nobody is left. The snapshot is looked at again
// after counting: either the counter's readers see this request, or this
// request sees their newer snapshot, which it returns. So a heartbeat that names
// an epoch and nothing in flight at a draining member can be believed.
func (p *Proxy) enter(snap *Snapshot, hash uint64, tried []*member) (*Snapshot, *member) {
	for {
		s := snap.service
		if s == nil {
			return snap, nil
		}
		slot := s.table.Slot(hash)
		i := s.table.Owner(slot)
		if i < 0 || !s.members[i].up() || s.full(i) || len(tried) > 0 {
			i = s.choose(slot, tried) // Slow path
		}
		if i < 0 {
			return snap, nil
		}
		m := s.members[i]
		m.enter()
		now := p.snapshot.Load()
		if now == snap {
			return snap, m
		}
		m.leave()
		snap = now
	}
}

// full reports whether member i has as many requests in flight as bounded load
// allows: at most ceil(load factor · (in flight + 1) · weighted share).
func (s *service) full(i int) bool {
	if s.bounds == nil {
		return false
	}
	return float64(s.members[i].inflight.Load()) >= s.bounds[i]*float64(s.load.Load()+1)
}

// choose is the next choice for a slot, clockwise: the first member that is up
// and not full, else one that is up, else, as a last resort, one that is
// ejected. It does not look at those in tried; -1 if nobody is left.
func (s *service) choose(slot int, tried []*member) int {
	seen := s.indexes(tried)
	full, ejected := -1, -1
	owner := s.table.Owner(slot)
	for {
		if owner < 0 || seen.Has(owner) {
			if slot, owner = s.table.Next(slot, &seen); owner < 0 {
				break
			}
		}
		switch {
		case !s.members[owner].up():
			if ejected < 0 {
				ejected = owner
			}
		case s.full(owner):
			if full < 0 {
				full = owner
			}
		default:
			return owner
		}
		seen.Add(owner)
	}
	if full >= 0 {
		return full
	}
	return ejected
}

// indexes is the set of some members, by their index in s.
func (s *service) indexes(members []*member) (set ring.Set) {
	for _, m := range members {
		for i := range s.members {
			if s.members[i] == m {
				set.Add(i)
			}
		}
	}
	return set
}
