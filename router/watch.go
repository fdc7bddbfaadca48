package router

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"ringway/events"
	"ringway/events/follow"
)

// follow obeys the routes of the bucket until ctx ends.
func (r *Router) follow(ctx context.Context) {
	f := follow.Follower{Values: r.bucket, Bus: r.bus, Apply: r.applyEntry, Behind: r.onLeaderHeartbeat, Log: r.log}
	f.Run(ctx)
}

// onLeaderHeartbeat takes a heartbeat of the leader, and tells whether it serves an epoch
// that we do not.
func (r *Router) onLeaderHeartbeat(b events.ControllerHeartbeat) (behind bool) {
	r.leaderSeen.Store(time.Now().UnixNano())
	services := r.routes.Load().services
	return r.database.Behind(b.Tables) || events.IsNewer(b.Epochs, func(name string) events.Epoch {
		if s := services[name]; s != nil {
			return s.epoch
		}
		return events.Epoch{}
	})
}

// applyEntry takes one value of the bucket. A route that cannot be served is refused
// and the last good one stays.
func (r *Router) applyEntry(e events.Entry) {
	name, ok := strings.CutPrefix(e.Key, events.ServiceKey(""))
	if !ok {
		if r.database.Apply(e) {
			r.metrics.swaps.Inc()
			notify(r.heartbeatNow)
			notify(r.saveNow)
		}
		return
	}
	old := r.routes.Load().services[name]
	var applied events.Epoch
	if old != nil {
		applied = old.epoch
	}
	switch e.News(applied) {
	case events.Stale:
		return
	case events.Wiped:
		r.log.Warn("the bus does not know this service, its last route stays", events.KeyService, name, events.KeyEpoch, e.Version.String())
		return
	case events.Gone:
		r.log.Info("service is gone", events.KeyService, name, events.KeyEpoch, e.Version.String())
		r.replace(name, nil)
		return
	case events.Fresh:
	}
	s, err := r.compile(name, e.Version, e.Value, old)
	if err != nil {
		r.metrics.refused.Inc()
		r.log.Error("route refused, the last good one stays", events.KeyService, name, events.KeyEpoch, e.Version.String(), events.KeyError, err)
		return
	}
	r.replace(name, s)
	r.log.Info("route changed", events.KeyService, name, events.KeyEpoch, s.epoch.String(), "members", len(s.members), "serving", len(s.replicas))
}

func (r *Router) compile(name string, epoch events.Epoch, value []byte, old *service) (*service, error) {
	route, err := events.DecodeRoute(value)
	if err != nil {
		return nil, err
	}
	if route.Service != name {
		return nil, errors.New("the key is of service " + name + ", the value of " + route.Service)
	}
	return r.builder.build(route, epoch, value, old)
}

// replace publishes a snapshot in which s serves name; nil: nobody does.
func (r *Router) replace(name string, s *service) {
	r.swap.Lock()
	defer r.swap.Unlock()
	old := r.routes.Load()
	next := &routes{services: maps.Clone(old.services)}
	if next.services == nil {
		next.services = map[string]*service{}
	}
	delete(next.services, name)
	if s != nil {
		next.services[name] = s
	}
	for _, one := range next.services {
		if next.service == nil || one.name < next.service.name {
			next.service = one
		}
	}
	stays := map[*member]bool{}
	if s != nil {
		for i, u := range s.members {
			stays[u] = true
			u.leaving.Store(s.membership[i].Draining)
		}
	}
	var gone []*member
	if before := old.services[name]; before != nil {
		for _, u := range before.members {
			if !stays[u] {
				u.leaving.Store(true)
				gone = append(gone, u)
			}
		}
	}
	next.departed = slices.Clone(gone)
	for _, u := range old.departed {
		if u.inflight.Load() > 0 {
			next.departed = append(next.departed, u)
		} else {
			r.metrics.forget(u, next)
		}
	}
	r.routes.Store(next)
	for _, u := range gone {
		u.pool.Retire()
		if s != nil && len(s.replicas) > 0 {
			// It hangs, or its host is silent: what waits there would wait for
			// the whole timeout, and others can answer it.
			u.pool.Abandon()
		}
	}
	for u := range stays {
		u.trialSoon() // something changed, perhaps of this one
	}
	r.metrics.swaps.Inc()
	close(r.changed)
	r.changed = make(chan struct{})
	notify(r.trialNow)
	notify(r.heartbeatNow)
	notify(r.saveNow)
}
