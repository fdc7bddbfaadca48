package cluster

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/events"
)

func (s *State) MayReplace(p ReplicaKey, now time.Time) bool { return !now.Before(s.backoff[p].since) }

// RecordFailure notes that an instance is replaced for having failed. One that
// served is replaced at once, however often. One that dies young and did not makes
// the next replacement wait, twice as long each time, from RetryMin to RetryMax.
// When that has become a loop, it returns what there is to say.
func (s *State) RecordFailure(p ReplicaKey, served bool, now time.Time) string {
	b := s.backoff[p]
	if served || b.since.IsZero() || now.Sub(b.since) >= s.Cfg.YoungAge {
		b.failures = 0
	} else {
		b.failures++
	}
	b.wait = min(s.Cfg.RetryMin<<min(max(b.failures-1, 0), 16), s.Cfg.RetryMax)
	b.since = now.Add(b.wait)
	s.backoff[p] = b
	if b.failures == minLoop {
		return CrashLoop(s, p, now)
	}
	return ""
}

// minLoop failures in a row, after the first one, are a crash loop.
const minLoop = 2

// CrashLoop describes a place in which instances die again and again before they
// are ready; empty if there is no such loop.
func CrashLoop(s *State, p ReplicaKey, now time.Time) string {
	b := s.backoff[p]
	if b.failures < minLoop || now.Sub(b.since) >= s.Cfg.YoungAge {
		return ""
	}
	return fmt.Sprintf("crash loop: %d in a row ended before they served, the next one starts %s after the last", b.failures+1, b.wait)
}

// Placements collects what one round of placing assigns.
type Placements struct {
	s     *State
	next  map[string]*events.Assignment // by host
	cause map[string][]events.Event
}

// MaxAtOnce bounds what one round changes on one host: a value carries an event
// for each. The next round goes on.
const MaxAtOnce = 150

// Full reports whether this round gives the host nothing more.
func (p *Placements) Full(host string) bool { return len(p.cause[host]) >= MaxAtOnce }

func NewPlacements(s *State) *Placements {
	return &Placements{s: s, next: map[string]*events.Assignment{}, cause: map[string][]events.Event{}}
}

// Of is what a host shall run, with what this round has added.
func (p *Placements) Of(host string) *events.Assignment {
	if a := p.next[host]; a != nil {
		return a
	}
	return p.s.Assignment(host)
}

func (p *Placements) Add(host string, spec events.InstanceSpec, why events.Event) {
	a := p.Of(host)
	a.Instances = append(a.Instances, spec)
	p.next[host] = a
	p.cause[host] = append(p.cause[host], why)
}

func (p *Placements) Effects() (effects []Effect) {
	for _, host := range slices.Sorted(maps.Keys(p.next)) {
		p.next[host].Decision = p.s.Because(p.cause[host]...)
		effects = append(effects, PutAssignment{Value: *p.next[host]})
	}
	return effects
}

// Alive lists the hosts that can be given work.
func (s *State) Alive() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		if h := s.Hosts[name]; h.Heartbeat != nil && h.State == events.Alive {
			names = append(names, name)
		}
	}
	return names
}

// Assignment is a copy of what a host shall run now.
func (s *State) Assignment(host string) *events.Assignment {
	a := events.Assignment{Host: host, Instances: []events.InstanceSpec{}}
	if have, ok := s.Assigned[host]; ok {
		a.Instances = slices.Clone(have.Value.Instances)
	}
	return &a
}

// ReplicaKey is a place in a service or table: replacements of one instance share it.
type ReplicaKey struct {
	Service string // or table: no two have the same name
	ID      int
}

type backoff struct {
	failures int           // in a row after the first one, each of a young instance that did not serve
	since    time.Time     // no replacement before; an age is counted from here
	wait     time.Duration // before that
}

// Placement finds the host that an instance is assigned to.
func (s *State) Placement(instance string) (string, bool) {
	for name, a := range s.Assigned {
		if AssignedIn(a.Value, instance) {
			return name, true
		}
	}
	return "", false
}

func AssignedIn(a events.Assignment, instance string) bool {
	return slices.ContainsFunc(a.Instances, func(i events.InstanceSpec) bool { return i.Name == instance })
}

// ReadyToPlace reports whether enough hosts are known to place instances well: all
// that are stored or expected have sent a heartbeat, or had SuspectAfter to do so.
func (s *State) ReadyToPlace(now time.Time) bool {
	reporting := 0
	for _, h := range s.Hosts {
		if h.Heartbeat != nil {
			reporting++
		}
	}
	return reporting > 0 && (reporting >= max(s.Cfg.ExpectHosts, len(s.Hosts)) && s.Cfg.ExpectHosts > 0 || now.Sub(s.Since) >= s.Cfg.SuspectAfter)
}

// AssignedHome reports whether a shard server is assigned to the host that has
// its data.
func (s *State) AssignedHome(srv events.ShardServer) bool {
	a, ok := s.Assigned[srv.Host]
	return ok && AssignedIn(a.Value, srv.Name)
}
