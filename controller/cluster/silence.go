package cluster

import (
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// Isolated reports whether this leader does not receive its own heartbeats: it
// cannot distinguish the silence of others from its own trouble then.
func (s *State) Isolated(now time.Time) bool { return now.Sub(s.heardSelf) > s.Cfg.IsolatedAfter }

func (s *State) Silence(seen, now time.Time) time.Duration {
	if seen.Before(s.Since) {
		seen = s.Since
	}
	return now.Sub(seen)
}

// Expire notices hosts and routers that have fallen silent.
func (s *State) Expire(now time.Time) (effects []Effect) {
	if s.Isolated(now) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		h := s.Hosts[name]
		silent := s.Silence(h.Seen, now)
		if silent >= s.Cfg.ForgetAfter && len(s.Assignment(name).Instances) == 0 && !hasVolume(s, name) {
			delete(s.Hosts, name)
			delete(s.published, name)
			continue
		}
		next := events.Alive
		switch {
		case silent >= s.Cfg.LostAfter:
			next = events.Lost
		case silent >= s.Cfg.SuspectAfter:
			next = events.Suspect
		}
		if next == h.State || next == events.Alive {
			continue // only a heartbeat brings a host back
		}
		h.State = next
		verb := map[string]string{events.Suspect: events.VerbSuspect, events.Lost: events.VerbLost}[next]
		effects = append(effects, s.Emit(now, events.EntityHost, verb, name, map[string]any{"silent": silent.Round(time.Millisecond).String()})...)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Routers)) {
		if silent := s.Silence(s.Routers[id].Seen, now); silent >= s.Cfg.LostAfter {
			delete(s.Routers, id)
			effects = append(effects, s.Emit(now, events.EntityRouter, events.VerbLost, id, map[string]any{"silent": silent.Round(time.Millisecond).String()})...)
		}
	}
	expireServers(s, now)
	return effects
}

// expireServers notices shard servers that have fallen silent. It is called
// only while the leader receives its own heartbeats.
func expireServers(s *State, now time.Time) {
	for name, srv := range s.Servers {
		silent := s.Silence(srv.Seen, now)
		srv.Silent = silent >= s.Cfg.SuspectAfter
		ended := srv.Silent && !nameOnHost(s, name) // a removed one, as its agent says
		if (silent >= s.Cfg.LostAfter || ended) && !serverWanted(s, name) {
			delete(s.Servers, name)
		}
	}
}

// hasVolume reports whether the data of a shard server that is wanted lies
// on a host.
func hasVolume(s *State, host string) bool {
	for _, db := range s.Tables {
		for _, srv := range db.Value.Servers {
			if srv.Host == host || srv.Was != nil && srv.Was.Host == host {
				return true
			}
		}
	}
	return false
}

// AssumeAlive counts every host that something is assigned to as just seen, so that
// one that died with the former leader is noticed.
func (s *State) AssumeAlive(now time.Time) {
	for name := range s.Assigned {
		s.Hosts[name] = &Host{Name: name, Seen: now, State: events.Alive}
		s.published[name] = true
	}
	assumeServers(s, now)
}
