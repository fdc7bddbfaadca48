package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/services"
	"ringway/controller/tables"
	"ringway/controller/tables/placement"
	"ringway/controller/tables/rollout"
	"ringway/controller/tables/route"
	"ringway/events"
	"ringway/events/strictjson"
)

// plan decides for one leader's term. It has no clock and no network.
type plan struct {
	s       *cluster.State
	scaling *services.Requests // requests about services
	tables  *tables.Tables
	rollout *rollout.Rollout // of shard servers

	draining       map[string]time.Time // instances that are not wanted: since when
	statusRequests []func(any, error)
}

func newPlan(s *cluster.State) *plan {
	return &plan{s: s, scaling: services.NewRequests(s), tables: tables.New(s), rollout: rollout.New(s), draining: map[string]time.Time{}}
}

// Decide compares what is wanted with what is, and returns the next effects
// towards it: those of the first step that has any. It is called again after
// they are carried out, until nothing is left to do. What the bus has refused
// just now is no effect.
func (p *plan) Decide(now time.Time) []cluster.Effect {
	s := p.s
	effects := s.Expire(now)
	for _, step := range []func() []cluster.Effect{
		// Take out of rotation what cannot serve: clients wait for that.
		func() []cluster.Effect { return services.Route(s, now) },
		func() []cluster.Effect { return route.Update(s, now) },
		// Change what is wanted: the configuration and people's requests.
		func() []cluster.Effect { return p.scaling.AcceptDeferred(now) },
		func() []cluster.Effect { return services.Configure(s, now) },
		func() []cluster.Effect { return tables.CreateConfigured(s, now) },
		func() []cluster.Effect { return rollout.Configure(s, now) },
		func() []cluster.Effect { return p.tables.BeginRequests(now) },
		func() []cluster.Effect { return p.tables.CreateLogs(now) },
		// Replace what has failed, then what runs something else than is configured.
		func() []cluster.Effect { return services.Replace(s, now) },
		func() []cluster.Effect { return p.rollout.RestartServers(now) },
		func() []cluster.Effect { return placement.ReplaceServers(s, now) },
		func() []cluster.Effect { return placement.MoveServers(s, now) },
		func() []cluster.Effect { return services.RollOut(s, now) },
		// Give hosts to what is wanted, and stop what is not.
		func() []cluster.Effect { return placement.PlaceVolumes(s, now) },
		func() []cluster.Effect { return p.placeInstances(now) },
		func() []cluster.Effect { return p.releaseInstances(now) },
		func() []cluster.Effect { return p.tables.PurgeLogs(now) },
		// Answer the requests that are fulfilled.
		func() []cluster.Effect { return p.scaling.Reply(now) },
		func() []cluster.Effect { return p.tables.Reply(now) },
		func() []cluster.Effect { return p.replyStatus(now) },
	} {
		if next := s.Storable(step(), now); len(next) > 0 {
			return append(effects, next...)
		}
	}
	return effects
}

// placeInstances assigns every wanted instance that has no host to one.
func (p *plan) placeInstances(now time.Time) []cluster.Effect {
	if !p.s.ReadyToPlace(now) {
		return nil
	}
	next := cluster.NewPlacements(p.s)
	services.Place(p.s, next, now)
	placement.Place(p.s, next, now)
	return next.Effects()
}

// releaseInstances takes what is no longer wanted away from its host, once no
// router has a request there.
func (p *plan) releaseInstances(now time.Time) (effects []cluster.Effect) {
	s := p.s
	for _, at := range slices.Sorted(maps.Keys(s.Assigned)) {
		next := s.Assignment(at)
		var cause []events.Event
		next.Instances = slices.DeleteFunc(next.Instances, func(i events.InstanceSpec) bool {
			if p.isWanted(i, at) || len(cause) >= cluster.MaxAtOnce {
				return false // or the next round's
			}
			p.noteDraining(i, at, now)
			why, done := p.drained(i, at, now)
			if done {
				delete(p.draining, i.Name)
				cluster.Forget(s, i.Name)
				of := "service"
				if i.Kind == events.KindShard {
					of = "table"
				}
				cause = append(cause, s.Event(now, events.EntityInstance, events.VerbRemoved, i.Name, map[string]any{of: i.Service, "id": i.ID, "host": at, "reason": why}))
			}
			return done
		})
		if len(cause) > 0 {
			next.Decision = s.Because(cause...)
			effects = append(effects, cluster.PutAssignment{Value: *next})
		}
	}
	return effects
}

// isWanted reports whether an instance shall go on running. Of a service or
// table whose stored value nobody can read, or a table that nobody knows, all do.
func (p *plan) isWanted(i events.InstanceSpec, at string) bool {
	if i.Kind == events.KindShard {
		db, ok := p.s.Tables[i.Service]
		return !ok || cluster.WantedAt(db.Value, i.Name, at)
	}
	svc, ok := p.s.Services[i.Service]
	return ok && cluster.IsWanted(svc.Value, i.Name) || !ok && p.s.Undecodable[i.Service]
}

// noteDraining notes since when an unwanted instance drains. One that is only
// restarted has no deadline.
func (p *plan) noteDraining(i events.InstanceSpec, at string, now time.Time) {
	if _, _, ok := rollout.Restarting(p.s, i, at); ok {
		return
	}
	if _, ok := p.draining[i.Name]; !ok {
		p.draining[i.Name] = now
	}
}

// drained reports whether an unwanted instance may be stopped, and why.
func (p *plan) drained(i events.InstanceSpec, at string, now time.Time) (string, bool) {
	s := p.s
	h := s.Hosts[at]
	if h == nil || h.State == events.Lost {
		return "host is lost", true
	}
	if st, ok := h.Status(i.Name); ok && st.State == events.Dead {
		return "dead", true
	}
	if db, srv, ok := rollout.Restarting(s, i, at); ok {
		return rollout.MayStop(s, db, srv, now) // whatever time that takes
	}
	limit := events.DefaultServiceSpec().Drain.D()
	if svc, ok := s.Services[i.Service]; ok && i.Kind == "" {
		limit = svc.Value.Spec.Drain.D()
	}
	if now.Sub(p.draining[i.Name]) >= limit {
		return fmt.Sprintf("not drained after %s", limit), true
	}
	if i.Kind == events.KindShard {
		return placement.OutOfRoute(s, i, now)
	}
	return services.RequestsEnded(s, i, now)
}

// Verbs are the requests that the leader answers: each reads a body and returns
// what begins the work on it.
func (p *plan) Verbs() map[string]cluster.Verb {
	verbs := p.tables.Verbs()
	maps.Copy(verbs, p.scaling.Verbs())
	verbs[events.APIStatus] = func(body []byte) (cluster.Begin, error) {
		if len(body) > 0 {
			if err := strictjson.Decode(body, &struct{}{}); err != nil {
				return nil, err
			}
		}
		return func(_ time.Time, done func(any, error)) []cluster.Effect {
			p.statusRequests = append(p.statusRequests, done)
			return nil
		}, nil
	}
	return verbs
}
