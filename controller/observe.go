package controller

import (
	"strings"
	"time"

	"ringway/events"
)

// heartbeat of an agent.
func (s *state) observeHost(b events.HostHeartbeat, now time.Time) []effect {
	h := s.hosts[b.Host]
	if h == nil {
		h = &host{name: b.Host, state: events.Alive}
		s.hosts[b.Host] = h
	}
	if h.heartbeat != nil && h.heartbeat.Incarnation == b.Incarnation {
		// Overtaken on the way; later than that, the host's clock was set back.
		if late := h.heartbeat.Sent.Sub(b.Sent); late > 0 && late < s.cfg.SuspectAfter {
			return nil
		}
	}
	h.heartbeat, h.seen = &b, now
	if effects := s.hostRollback(b, now); effects != nil {
		return effects
	}
	s.observeUnready(b, now)

	was := h.state
	h.state = events.Alive
	switch {
	case !s.published[b.Host]:
		s.published[b.Host] = true
		return s.emit(now, events.EntityHost, events.VerbJoined, b.Host, map[string]any{"incarnation": b.Incarnation, "instances": len(b.Instances)})
	case was != events.Alive:
		return s.emit(now, events.EntityHost, events.VerbReturned, b.Host, map[string]any{"was": was})
	}
	return nil
}

func (s *state) observeUnready(b events.HostHeartbeat, now time.Time) {
	for _, i := range b.Instances {
		if i.State != events.Unready {
			delete(s.unready, i.Name)
		} else if _, ok := s.unready[i.Name]; !ok {
			s.unready[i.Name] = now
		}
	}
}

// heartbeat of a router.
func (s *state) observeRouter(b events.RouterHeartbeat, now time.Time) []effect {
	if effects := s.epochRollback("router "+b.Router, b.Epochs, b.Tables, now); effects != nil {
		return effects
	}
	r := s.routers[b.Router]
	if r == nil {
		s.routers[b.Router] = &router{heartbeat: b, seen: now}
		return s.emit(now, events.EntityRouter, events.VerbJoined, b.Router, map[string]any{"address": b.Address})
	}
	r.heartbeat, r.seen = b, now
	return nil
}

// observeSelf takes the leader's own heartbeat, come back over the bus: proof
// that silence of others is theirs. After a break everybody counts as just seen.
func (s *state) observeSelf(b events.ControllerHeartbeat, now time.Time) {
	if b.Term != s.term || now.Sub(b.Sent) > s.cfg.IsolatedAfter {
		return
	}
	if s.isolated(now) {
		s.since = now
	}
	s.heardSelf = now
}

// observeStored takes a value of a bucket as the bus has it. One that this
// leader did not write, by a person's hand perhaps, ends the term.
func (s *state) observeStored(e events.Entry, version func(string) (events.Version, bool)) []effect {
	ours, ok := version(e.Key)
	if !ok || e.Version == ours || ours.After(e.Version) {
		return nil
	}
	return []effect{resign{key: e.Key}}
}

func (s *state) desiredVersion(key string) (events.Version, bool) {
	return eitherVersion(key, s.services, s.tables)
}
func (s *state) assignVersion(key string) (events.Version, bool) { return versionOf(s.assigned, key) }
func (s *state) routeVersion(key string) (events.Version, bool) {
	return eitherVersion(key, s.routes, s.tableRoutes)
}

func eitherVersion[V, W any](key string, services map[string]*stored[V], tables map[string]*stored[W]) (events.Version, bool) {
	if name, ok := strings.CutPrefix(key, events.ServiceKey("")); ok {
		return versionOf(services, name)
	}
	if name, ok := strings.CutPrefix(key, events.TableKey("")); ok {
		return versionOf(tables, name)
	}
	return events.Version{}, false
}

func versionOf[V any](m map[string]*stored[V], name string) (events.Version, bool) {
	if v, ok := m[name]; ok {
		return v.version, true
	}
	return events.Version{}, false
}

// isolated reports whether this leader cannot tell silence from its own trouble.
func (s *state) isolated(now time.Time) bool { return now.Sub(s.heardSelf) > s.cfg.IsolatedAfter }

func (s *state) silence(seen, now time.Time) time.Duration {
	if seen.Before(s.since) {
		seen = s.since
	}
	return now.Sub(seen)
}

// expire notices hosts and routers that have fallen silent.
func (s *state) expire(now time.Time) (effects []effect) {
	if s.isolated(now) {
		return nil
	}
	for _, name := range sorted(s.hosts) {
		h := s.hosts[name]
		silent := s.silence(h.seen, now)
		if silent >= s.cfg.ForgetAfter && len(s.assignment(name).Instances) == 0 && !s.hasVolume(name) {
			delete(s.hosts, name)
			delete(s.published, name)
			continue
		}
		next := events.Alive
		switch {
		case silent >= s.cfg.LostAfter:
			next = events.Lost
		case silent >= s.cfg.SuspectAfter:
			next = events.Suspect
		}
		if next == h.state || next == events.Alive {
			continue // only a heartbeat brings a host back
		}
		h.state = next
		verb := map[string]string{events.Suspect: events.VerbSuspect, events.Lost: events.VerbLost}[next]
		effects = append(effects, s.emit(now, events.EntityHost, verb, name, map[string]any{"silent": silent.Round(time.Millisecond).String()})...)
	}
	for _, id := range sorted(s.routers) {
		if silent := s.silence(s.routers[id].seen, now); silent >= s.cfg.LostAfter {
			delete(s.routers, id)
			effects = append(effects, s.emit(now, events.EntityRouter, events.VerbLost, id, map[string]any{"silent": silent.Round(time.Millisecond).String()})...)
		}
	}
	s.expireServers(now)
	return effects
}

// tell makes an event that no stored value carries.
func (s *state) emit(now time.Time, entity, verb, about string, data map[string]any) []effect {
	return []effect{emit{event: s.event(now, entity, verb, about, data)}}
}

// emitOnce tells of what cannot be had as it is asked for.
func (s *state) emitOnce(now time.Time, entity, about string, err error) []effect {
	if s.refused[entity+" "+about] == err.Error() {
		return nil
	}
	s.refused[entity+" "+about] = err.Error()
	return s.emit(now, entity, events.VerbRefused, about, map[string]any{"reason": err.Error()})
}

func (s *state) event(now time.Time, entity, verb, about string, data map[string]any) events.Event {
	data["term"] = s.term.Revision
	return events.NewEvent("controller/"+s.cfg.ID, entity, verb, about, now, data)
}
