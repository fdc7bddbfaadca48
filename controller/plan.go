package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/events"
)

// plan decides for one leader's term. It has no clock and no network.
type plan struct {
	s       *state
	scaling *scaling // requests about services
	tables  *tables
	rollout *rollout // of shard servers

	draining       map[string]time.Time // instances that are not wanted: since when
	statusRequests []func(any, error)
}

func newPlan(s *state) *plan {
	return &plan{s: s, scaling: newScaling(s), tables: newTables(s), rollout: newRollout(s), draining: map[string]time.Time{}}
}

// decide compares what is wanted with what is, and returns the next effects
// towards it: those of the first step that has any. It is called again after
// they are carried out, until nothing is left to do.
func (p *plan) decide(now time.Time) []effect {
	s := p.s
	effects := s.expire(now)
	for _, step := range []func() []effect{
		// Take out of rotation what cannot serve: clients wait for that.
		func() []effect { return s.routeServices(now) },
		func() []effect { return s.routeTables(now) },
		// Change what is wanted: the configuration and people's requests.
		func() []effect { return p.scaling.acceptDeferred(now) },
		func() []effect { return s.configureServices(now) },
		func() []effect { return s.createConfiguredTables(now) },
		func() []effect { return s.configureServers(now) },
		func() []effect { return p.tables.beginRequests(now) },
		func() []effect { return p.tables.createLogs(now) },
		// Replace what has failed, then what runs something else than is configured.
		func() []effect { return s.replaceInstances(now) },
		func() []effect { return p.rollout.restartServers(now) },
		func() []effect { return s.replaceServers(now) },
		func() []effect { return s.moveServers(now) },
		func() []effect { return s.rollOutServices(now) },
		// Give hosts to what is wanted, and stop what is not.
		func() []effect { return s.placeVolumes(now) },
		func() []effect { return p.placeInstances(now) },
		func() []effect { return p.releaseInstances(now) },
		func() []effect { return p.tables.purgeLogs(now) },
		// Answer the requests that are fulfilled.
		func() []effect { return p.scaling.reply(now) },
		func() []effect { return p.tables.reply(now) },
		func() []effect { return p.replyStatus(now) },
	} {
		if next := step(); len(next) > 0 {
			return append(effects, next...)
		}
	}
	return effects
}

// placeInstances assigns every wanted instance that has no host to one.
func (p *plan) placeInstances(now time.Time) []effect {
	if !p.s.readyToPlace(now) {
		return nil
	}
	next := newPlacements(p.s)
	p.s.placeReplicas(next, now)
	p.s.placeServers(next, now)
	return next.effects()
}

// releaseInstances takes what is no longer wanted away from its host, once no
// router has a request there.
func (p *plan) releaseInstances(now time.Time) (effects []effect) {
	s := p.s
	for _, at := range sorted(s.assigned) {
		next := s.assignment(at)
		var cause []events.Event
		next.Instances = slices.DeleteFunc(next.Instances, func(i events.InstanceSpec) bool {
			if p.isWanted(i, at) {
				return false
			}
			p.noteDraining(i, at, now)
			why, done := p.drained(i, at, now)
			if done {
				delete(p.draining, i.Name)
				delete(s.unready, i.Name)
				of := "service"
				if i.Kind == events.KindShard {
					of = "table"
				}
				cause = append(cause, s.event(now, events.EntityInstance, events.VerbRemoved, i.Name, map[string]any{of: i.Service, "id": i.ID, "host": at, "reason": why}))
			}
			return done
		})
		if len(cause) > 0 {
			next.Decision = s.because(cause...)
			effects = append(effects, putAssign{value: *next})
		}
	}
	return effects
}

// isWanted reports whether an instance shall go on running. Of a service or
// table whose stored value nobody can read, or a table that nobody knows, all do.
func (p *plan) isWanted(i events.InstanceSpec, at string) bool {
	if i.Kind == events.KindShard {
		db, ok := p.s.tables[i.Service]
		return !ok || wantedAt(db.value, i.Name, at)
	}
	svc, ok := p.s.services[i.Service]
	return ok && isWanted(svc.value, i.Name) || !ok && p.s.undecodable[i.Service]
}

// noteDraining notes since when an unwanted instance drains. One that is only
// restarted has no deadline.
func (p *plan) noteDraining(i events.InstanceSpec, at string, now time.Time) {
	if _, _, ok := p.s.restarting(i, at); ok {
		return
	}
	if _, ok := p.draining[i.Name]; !ok {
		p.draining[i.Name] = now
	}
}

// drained reports whether an unwanted instance may be stopped, and why.
func (p *plan) drained(i events.InstanceSpec, at string, now time.Time) (string, bool) {
	s := p.s
	h := s.hosts[at]
	if h == nil || h.state == events.Lost {
		return "host is lost", true
	}
	if st, ok := h.status(i.Name); ok && st.State == events.Dead {
		return "dead", true
	}
	if db, srv, ok := s.restarting(i, at); ok {
		return s.mayStop(db, srv, now) // whatever time that takes
	}
	limit := events.DefaultServiceSpec().Drain.D()
	if svc, ok := s.services[i.Service]; ok && i.Kind == "" {
		limit = svc.value.Spec.Drain.D()
	}
	if now.Sub(p.draining[i.Name]) >= limit {
		return fmt.Sprintf("not drained after %s", limit), true
	}
	if i.Kind == events.KindShard {
		return s.outOfRoute(i, now)
	}
	return s.requestsEnded(i, now)
}

// verbs are the requests that the leader answers: each reads a body and returns
// what begins the work on it.
func (p *plan) verbs() map[string]verb {
	verbs := p.tables.verbs()
	maps.Copy(verbs, p.scaling.verbs())
	verbs[events.APIStatus] = func([]byte) (begin, error) {
		return func(_ time.Time, done func(any, error)) []effect {
			p.statusRequests = append(p.statusRequests, done)
			return nil
		}, nil
	}
	return verbs
}
