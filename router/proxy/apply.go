package proxy

import (
	"context"
	"errors"
	"maps"
	"slices"

	"ringway/events"
)

// Apply takes one value of the bucket of routes, and reports whether another
// snapshot is served for it. A route that cannot be served is refused, and the
// last good one stays.
func (p *Proxy) Apply(name string, e events.Entry) (changed bool) {
	old := p.snapshot.Load().services[name]
	var applied events.Epoch
	if old != nil {
		applied = old.epoch
	}
	switch e.News(applied) {
	case events.Stale:
		return false
	case events.Wiped:
		p.log.Warn("the bus does not know this service, its last route stays", events.KeyService, name, events.KeyEpoch, e.Version.String())
		return false
	case events.Gone:
		p.log.Info("service is gone", events.KeyService, name, events.KeyEpoch, e.Version.String())
		p.replace(name, nil)
		return true
	case events.Fresh:
	}
	s, err := p.compile(name, e.Version, e.Value, old)
	if err != nil {
		p.metrics.refused.Inc()
		p.log.Error("route refused, the last good one stays", events.KeyService, name, events.KeyEpoch, e.Version.String(), events.KeyError, err)
		return false
	}
	p.replace(name, s)
	p.log.Info("route changed", events.KeyService, name, events.KeyEpoch, s.epoch.String(), "members", len(s.members), "serving", len(s.replicas))
	return true
}

// Known is a route that is served, for a cache.
type Known struct {
	Epoch events.Epoch
	Route []byte // as it came
}

// Known is what is served now, by service.
func (p *Proxy) Known() map[string]Known {
	all := map[string]Known{}
	for name, s := range p.snapshot.Load().services {
		all[name] = Known{s.epoch, s.value}
	}
	return all
}

// Remember takes a route from a cache into service.
func (p *Proxy) Remember(name string, k Known) error {
	s, err := p.compile(name, k.Epoch, k.Route, nil)
	if err == nil {
		p.replace(name, s)
	}
	return err
}

func (p *Proxy) compile(name string, epoch events.Epoch, value []byte, old *service) (*service, error) {
	route, err := events.DecodeRoute(value)
	if err != nil {
		return nil, err
	}
	if route.Service != name {
		return nil, errors.New("the key is of service " + name + ", the value of " + route.Service)
	}
	return p.builder.build(route, epoch, value, old)
}

// replace publishes a snapshot in which s serves name; nil: nobody does.
func (p *Proxy) replace(name string, s *service) {
	p.swap.Lock()
	defer p.swap.Unlock()
	old := p.snapshot.Load()
	next := &Snapshot{services: maps.Clone(old.services)}
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
		for i, m := range s.members {
			stays[m] = true
			m.leaving.Store(s.membership[i].Draining)
		}
	}
	var gone []*member
	if before := old.services[name]; before != nil {
		for _, m := range before.members {
			if !stays[m] {
				m.leaving.Store(true)
				gone = append(gone, m)
			}
		}
	}
	next.departed = slices.Clone(gone)
	for _, m := range old.departed {
		if m.inflight.Load() > 0 {
			next.departed = append(next.departed, m)
		} else {
			p.metrics.forget(m, next)
		}
	}
	p.snapshot.Store(next)
	for _, m := range gone {
		m.pool.Retire()
		if s != nil && len(s.replicas) > 0 {
			// It hangs, or its host is silent: what waits there would wait for
			// the whole timeout, and others can answer it.
			m.pool.Abandon()
		}
	}
	for m := range stays {
		m.trialSoon() // something changed, perhaps of this one
	}
	p.changed.Broadcast()
	p.trial.Notify()
}

// AwaitEpoch returns when the epoch of a service or a later one is served.
func (p *Proxy) AwaitEpoch(ctx context.Context, service string, epoch events.Epoch) error {
	return p.changed.Await(ctx, &p.swap, func() bool {
		s := p.snapshot.Load().services[service]
		return epoch.Zero() || s != nil && (s.epoch == epoch || s.epoch.After(epoch))
	})
}
