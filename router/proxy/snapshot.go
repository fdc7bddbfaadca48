package proxy

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"ringway/events"
	"ringway/router/ring"
)

// Snapshot is one immutable snapshot of all that a request needs to know.
type Snapshot struct {
	services map[string]*service
	service  *service  // the default service: there is one for now; nil if none
	departed []*member // named by no route any more, but with requests in flight at the swap
}

// service is the compiled route of one service.
type service struct {
	name       string
	epoch      events.Epoch
	table      *ring.Table
	members    []*member // in the order that the table refers to
	bounds     []float64 // by member: load factor times weighted share; nil: no bound
	load       *atomic.Int64
	key        keySource
	paths      map[string]struct{} // declared; empty: every path is forwarded
	timeout    time.Duration
	replicas   []string        // those that serve, in id order
	rep        []byte          // the answer to /rep
	value      json.RawMessage // the route as it came
	membership []events.Member
}

// Service is the name of the default service, its answer to /rep, and whether
// it declares its paths; ok is false if no service is known.
func (s *Snapshot) Service() (name string, rep []byte, declares, ok bool) {
	if s.service == nil {
		return "", nil, false, false
	}
	return s.service.name, s.service.rep, len(s.service.paths) > 0, true
}

// Declares reports whether the default service declares a path.
func (s *Snapshot) Declares(path []byte) bool {
	if s.service == nil {
		return false
	}
	_, declared := s.service.paths[string(path)]
	return declared
}

// full tells whether member i has as many requests in flight as bounded load
// allows: at most ceil(load factor · (in flight + 1) · weighted share).
func (s *service) full(i int) bool {
	if s.bounds == nil {
		return false
	}
	return float64(s.members[i].inflight.Load()) >= s.bounds[i]*float64(s.load.Load()+1)
}

// choose is the next choice for a slot, clockwise: the first member that is up
// and has room, else one that is up, else, as a last resort, one that is
// ejected. It does not look at those in tried; -1 if nobody is left.
func (s *service) choose(slot int, tried *ring.Set) int {
	var seen ring.Set
	if tried != nil {
		seen = *tried
	}
	atLimit, ejected := -1, -1
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
			if atLimit < 0 {
				atLimit = owner
			}
		default:
			return owner
		}
		seen.Add(owner)
	}
	if atLimit >= 0 {
		return atLimit
	}
	return ejected
}
