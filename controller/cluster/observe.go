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
	observeReadiness(s, b, now)

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

// observeReadiness notes since when instances are ready, or fail their probes.
func observeReadiness(s *State, b events.HostHeartbeat, now time.Time) {
	for _, i := range b.Instances {
		if _, ok := s.readySince[i.Name]; i.State == events.Ready && !ok {
			s.readySince[i.Name] = now
			if s.FirstReady[i.Name].IsZero() {
				s.FirstReady[i.Name] = now
			}
		} else if i.State != events.Ready {
			delete(s.readySince, i.Name)
		}
		if i.State != events.Unready {
			delete(s.Unready, i.Name)
		} else if _, ok := s.Unready[i.Name]; !ok {
			s.Unready[i.Name] = now
		}
	}
}

// ReadyFor is how long an instance has been ready without a break; 0 if it is not.
func (s *State) ReadyFor(instance string, now time.Time) time.Duration {
	if since, ok := s.readySince[instance]; ok {
		return now.Sub(since)
	}
	return 0
}

// WasReady reports whether an instance was ready once.
func WasReady(s *State, instance string) bool {
	_, ok := s.FirstReady[instance]
	return ok
}

// Forget drops what is known of an instance that is no longer there.
func Forget(s *State, instance string) {
	delete(s.Unready, instance)
	delete(s.readySince, instance)
	delete(s.FirstReady, instance)
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
