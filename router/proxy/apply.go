package proxy

import (
	"errors"
	"maps"
	"slices"

	"ringway/events"
	"ringway/router/routes"
)

// serve compiles a route and takes it into service.
func (p *Proxy) serve(name string, k routes.Known) (about []any, err error) {
	route, err := events.DecodeRoute(k.Route)
	if err != nil {
		return nil, err
	}
	if route.Service != name {
		return nil, errors.New("the key is of service " + name + ", the value of " + route.Service)
	}
	s, err := p.builder.build(route, k.Epoch, p.snapshot.Load().services[name])
	if err != nil {
		return nil, err
	}
	p.replace(name, s)
	return []any{"members", len(s.members), "serving", len(s.replicas)}, nil
}

// replace publishes a snapshot in which s serves name; nil: nobody does.
func (p *Proxy) replace(name string, s *service) {
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
	p.trial.Notify()
}
