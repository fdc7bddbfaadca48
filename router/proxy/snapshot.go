package proxy

import (
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
	replicas   []string // those that serve, in id order
	rep        []byte   // the answer to /rep
	membership []events.Member
}

// Default is the name of the default service and its answer to /rep, which is
// nil if no service is known.
func (s *Snapshot) Default() (name string, rep []byte) {
	if s.service == nil {
		return "", nil
	}
	return s.service.name, s.service.rep
}

// Takes reports whether a path that tables have too is the default service's: it
// declares the path, or there are no tables and it declares no path at all.
func (s *Snapshot) Takes(path []byte, tables bool) bool {
	switch {
	case s.service == nil:
		return false
	case len(s.service.paths) == 0:
		return !tables
	}
	_, declared := s.service.paths[string(path)]
	return declared
}

// everyone is every member, also those that have left with requests in flight.
func (s *Snapshot) everyone() []*member {
	all := append([]*member(nil), s.departed...)
	for _, one := range s.services {
		all = append(all, one.members...)
	}
	return all
}
