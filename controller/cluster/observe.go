package cluster

import (
	"strings"
	"time"

	"ringway/events"
)

// ObserveHost takes the heartbeat of an agent.
func (s *State) ObserveHost(b events.HostHeartbeat, now time.Time) []Effect {
	h := s.Hosts[b.Host]
	if h == nil {
		h = &Host{Name: b.Host, State: events.Alive}
		s.Hosts[b.Host] = h
	}
	if h.Heartbeat != nil && h.Heartbeat.Incarnation == b.Incarnation {
		// Overtaken on the way; later than that, the host's clock was set back.
		if late := h.Heartbeat.Sent.Sub(b.Sent); late > 0 && late < s.Cfg.SuspectAfter {
			return nil
		}
	}
	h.Heartbeat, h.Seen = &b, now
	if effects := hostRollback(s, b, now); effects != nil {
		return effects
	}
	observeUnready(s, b, now)

	was := h.State
	h.State = events.Alive
	switch {
	case !s.published[b.Host]:
		s.published[b.Host] = true
		return s.Emit(now, events.EntityHost, events.VerbJoined, b.Host, map[string]any{"incarnation": b.Incarnation, "instances": len(b.Instances)})
	case was != events.Alive:
		return s.Emit(now, events.EntityHost, events.VerbReturned, b.Host, map[string]any{"was": was})
	}
	return nil
}

func observeUnready(s *State, b events.HostHeartbeat, now time.Time) {
	for _, i := range b.Instances {
		if i.State != events.Unready {
			delete(s.Unready, i.Name)
		} else if _, ok := s.Unready[i.Name]; !ok {
			s.Unready[i.Name] = now
		}
	}
}

// ObserveRouter takes the heartbeat of a router.
func (s *State) ObserveRouter(b events.RouterHeartbeat, now time.Time) []Effect {
	if effects := epochRollback(s, "router "+b.Router, b.Epochs, b.Tables, now); effects != nil {
		return effects
	}
	r := s.Routers[b.Router]
	if r == nil {
		s.Routers[b.Router] = &router{Heartbeat: b, Seen: now}
		return s.Emit(now, events.EntityRouter, events.VerbJoined, b.Router, map[string]any{"address": b.Address})
	}
	r.Heartbeat, r.Seen = b, now
	return nil
}

// ObserveSelf takes the leader's own heartbeat, come back over the bus: proof
// that silence of others is theirs. After a break everybody counts as just seen.
func (s *State) ObserveSelf(b events.ControllerHeartbeat, now time.Time) {
	if b.Term != s.Term || now.Sub(b.Sent) > s.Cfg.IsolatedAfter {
		return
	}
	if s.Isolated(now) {
		s.Since = now
	}
	s.heardSelf = now
}

// ObserveStored takes a value of a bucket as the bus has it. One that this
// leader did not write, by a person's hand perhaps, ends the term.
func (s *State) ObserveStored(bucket string, e events.Entry) []Effect {
	ours, ok := s.storedVersion(bucket, e.Key)
	if !ok || e.Version == ours || ours.After(e.Version) {
		return nil
	}
	return []Effect{Resign{Key: e.Key}}
}

func (s *State) storedVersion(bucket, key string) (events.Version, bool) {
	service, isService := strings.CutPrefix(key, events.ServiceKey(""))
	table, isTable := strings.CutPrefix(key, events.TableKey(""))
	switch {
	case bucket == events.BucketAssign:
		return versionOf(s.Assigned, key)
	case bucket == events.BucketDesired && isService:
		return versionOf(s.Services, service)
	case bucket == events.BucketDesired && isTable:
		return versionOf(s.Tables, table)
	case bucket == events.BucketRoutes && isService:
		return versionOf(s.Routes, service)
	case bucket == events.BucketRoutes && isTable:
		return versionOf(s.TableRoutes, table)
	}
	return events.Version{}, false
}

func versionOf[V any](m map[string]*Stored[V], name string) (events.Version, bool) {
	if v, ok := m[name]; ok {
		return v.Version, true
	}
	return events.Version{}, false
}
