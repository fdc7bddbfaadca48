package controller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringway/events"
)

// configureServices creates the services that the configuration names, and follows the
// configuration when it has changed; what people asked for since then stands
// otherwise.
func (s *state) configureServices(now time.Time) (effects []effect) {
	for _, w := range s.cfg.Services {
		have, ok := s.services[w.Name]
		if _, table := s.tables[w.Name]; table && !ok {
			effects = append(effects, s.emitOnce(now, events.EntityService, w.Name, errors.New("a table has this name"))...)
			continue
		}
		if ok && (w.ConfigHash == "" || have.value.ConfigHash == w.ConfigHash) || !ok && !s.readyToPlace(now) {
			continue
		}
		next := events.Service{Spec: events.DefaultServiceSpec()}
		if ok {
			next = have.value
		} else {
			next.Spec.Name = w.Name
			next.Replicas = s.adoptable(w.Name)
			next.Spec.Replicas = max(next.Spec.Replicas, len(next.Replicas))
		}
		spec, err := w.Overlay(next.Spec)
		if err != nil {
			effects = append(effects, s.emitOnce(now, events.EntityService, w.Name, err)...)
			continue
		}
		if before := next.Runs(); ok {
			next.Before, next.Stuck = &before, ""
		}
		next.Spec, next.ConfigHash = spec, w.ConfigHash
		verb := events.VerbScaled
		if !ok {
			verb = events.VerbCreated
		}
		before := len(next.Replicas)
		next.Replicas = s.resize(next, spec.Replicas)
		next.Decision = s.because(s.event(now, events.EntityService, verb, w.Name, map[string]any{
			"reason": "configuration", "replicas": replicaNames(next.Replicas), "from": before, "to": len(next.Replicas), "algorithm": spec.Algorithm,
		}))
		effects = append(effects, putService{value: next})
	}
	return effects
}

// adoptable finds the instances of a service that no stored value knows: those
// that outlived their bus. They are adopted, not killed.
func (s *state) adoptable(service string) (found []events.Replica) {
	for _, name := range sorted(s.hosts) {
		if s.hosts[name].heartbeat == nil {
			continue
		}
		for _, i := range s.hosts[name].heartbeat.Instances {
			taken := slices.ContainsFunc(found, func(r events.Replica) bool { return r.ID == i.ID || r.Name == i.Name })
			if i.Kind == "" && i.Service == service && i.State != events.Dead && i.State != events.Stopping && i.ID > 0 && !taken {
				found = append(found, events.Replica{Name: i.Name, ID: i.ID})
			}
		}
	}
	slices.SortFunc(found, byID)
	return found
}

// replaceInstances gives the place of a dead instance to a new one.
func (s *state) replaceInstances(now time.Time) (effects []effect) {
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		svc.Replicas = slices.Clone(svc.Replicas)
		var cause []events.Event
		for i, old := range svc.Replicas {
			why, at := s.failureOf(old.Name, now)
			place := replicaKey{service: name, id: old.ID}
			if why == "" || !s.mayReplace(place, now) {
				continue
			}
			s.recordFailure(place, now)
			svc.Replicas[i] = events.Replica{Name: cmp.Or(old.Next, s.freshName(svc)), ID: old.ID, Request: old.Request}
			cause = append(cause,
				s.event(now, events.EntityInstance, events.VerbDied, old.Name, map[string]any{"service": name, "id": old.ID, "host": at, "reason": why}),
				s.event(now, events.EntityInstance, events.VerbReplaced, old.Name, map[string]any{"service": name, "id": old.ID, "by": svc.Replicas[i].Name, "reason": why}))
		}
		if len(cause) > 0 {
			svc.Decision = s.because(cause...)
			effects = append(effects, putService{value: svc})
		}
	}
	return effects
}

// failureOf says why an instance has to be replaced, if it has to, and where it was.
func (s *state) failureOf(instance string, now time.Time) (why, at string) {
	at, ok := s.placement(instance)
	if !ok {
		return "", ""
	}
	h := s.hosts[at]
	if h != nil && h.state == events.Lost {
		if len(s.alive()) == 0 {
			return "", at // nowhere to go; it may well be serving
		}
		return "host " + at + " is lost", at
	}
	status, ok := h.status(instance)
	switch {
	case ok && status.State == events.Dead:
		return cmp.Or(status.Detail, "it ended"), at
	case ok && status.State == events.Unready && now.Sub(s.unready[instance]) >= s.cfg.ReplaceUnreadyAfter:
		return fmt.Sprintf("not ready for %s: %s", s.cfg.ReplaceUnreadyAfter, status.Detail), at
	}
	return "", at
}

func (s *state) mayReplace(p replicaKey, now time.Time) bool { return !now.Before(s.backoff[p].since) }

// recordFailure makes the next replacement of one that dies young wait: twice as
// long each time, from RetryMin to RetryMax.
func (s *state) recordFailure(p replicaKey, now time.Time) {
	b := s.backoff[p]
	if b.since.IsZero() || now.Sub(b.since) >= s.cfg.YoungAge {
		b.failures = 0
	} else {
		b.failures++
	}
	b.since = now
	if b.failures > 0 {
		b.since = now.Add(min(s.cfg.RetryMin<<min(b.failures-1, 16), s.cfg.RetryMax))
	}
	s.backoff[p] = b
}

// placeReplicas assigns every wanted instance that has no host to one: where it
// runs already, else to the live host with the fewest of its service.
func (s *state) placeReplicas(next *placements, now time.Time) {
	for _, name := range sorted(s.services) {
		svc := s.services[name].value
		for _, r := range instancesOf(svc) {
			if _, ok := s.placement(r.Name); ok {
				continue
			}
			at := s.choose(name, r.Name, next)
			if at == "" {
				continue // nobody lives; a heartbeat brings us back here
			}
			next.add(at, instanceSpec(svc.Runs(), r), s.event(now, events.EntityInstance, events.VerbAssigned, r.Name, map[string]any{"service": name, "id": r.ID, "host": at}))
		}
	}
}

// choose picks a host for an instance; next holds what this round has placed.
func (s *state) choose(service, instance string, next *placements) string {
	best, fewest := "", [2]int{}
	for _, name := range s.alive() {
		if st, ok := s.hosts[name].status(instance); ok && st.State != events.Dead {
			return name
		}
		a := next.of(name)
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

// requestsEnded reports whether no router has a request at an instance, nor
// will send one.
func (s *state) requestsEnded(i events.InstanceSpec, now time.Time) (string, bool) {
	route, ok := s.routes[i.Service]
	if !ok {
		return "never routed to", true
	}
	if owns(route.value, i.Name) || !s.served(i.Service, route.version, now) {
		return "", false
	}
	for _, r := range s.routers {
		if r.heartbeat.InFlight[i.Service][i.Name] > 0 && s.silence(r.seen, now) < s.cfg.SuspectAfter {
			return "", false
		}
	}
	return "drained", true
}

// placements collects what one round of placing assigns.
type placements struct {
	s     *state
	next  map[string]*events.Assignment // by host
	cause map[string][]events.Event
}

func newPlacements(s *state) *placements {
	return &placements{s: s, next: map[string]*events.Assignment{}, cause: map[string][]events.Event{}}
}

// of is what a host shall run, with what this round has added.
func (p *placements) of(host string) *events.Assignment {
	if a := p.next[host]; a != nil {
		return a
	}
	return p.s.assignment(host)
}

func (p *placements) add(host string, spec events.InstanceSpec, why events.Event) {
	a := p.of(host)
	a.Instances = append(a.Instances, spec)
	p.next[host] = a
	p.cause[host] = append(p.cause[host], why)
}

func (p *placements) effects() (effects []effect) {
	for _, host := range sorted(p.next) {
		p.next[host].Decision = p.s.because(p.cause[host]...)
		effects = append(effects, putAssign{value: *p.next[host]})
	}
	return effects
}

// alive lists the hosts that can be given work.
func (s *state) alive() (names []string) {
	for _, name := range sorted(s.hosts) {
		if h := s.hosts[name]; h.heartbeat != nil && h.state == events.Alive {
			names = append(names, name)
		}
	}
	return names
}

// assignment is a copy of what a host shall run now.
func (s *state) assignment(host string) *events.Assignment {
	a := events.Assignment{Host: host, Instances: []events.InstanceSpec{}}
	if have, ok := s.assigned[host]; ok {
		a.Instances = slices.Clone(have.value.Instances)
	}
	return &a
}

func instanceSpec(spec events.ServiceSpec, r events.Replica) events.InstanceSpec {
	return events.InstanceSpec{
		Name: r.Name, Service: spec.Name, ID: r.ID, Command: spec.Command, Env: spec.Env,
		Image: spec.Image, Port: spec.Port, Limits: spec.Limits, Health: spec.Health, Grace: spec.Grace,
	}
}

// served reports whether every live router obeys this epoch. Right after a
// break nobody can tell which routers live.
func (s *state) served(service string, epoch events.Epoch, now time.Time) bool {
	return s.servedBy(func(b *events.RouterHeartbeat) events.Epoch { return b.Epochs[service] }, epoch, now)
}

func (s *state) servedBy(epochAt func(*events.RouterHeartbeat) events.Epoch, epoch events.Epoch, now time.Time) bool {
	live := 0
	for _, r := range s.routers {
		if s.silence(r.seen, now) >= s.cfg.SuspectAfter {
			continue
		}
		live++
		if at := epochAt(&r.heartbeat); at != epoch && !at.After(epoch) {
			return false
		}
	}
	return live > 0 || now.Sub(s.since) >= s.cfg.SuspectAfter
}

func (s *state) because(cause ...events.Event) events.Decision {
	return events.Decision{Term: s.term, Cause: cause}
}
