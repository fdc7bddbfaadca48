package router

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// follow obeys the routes of the bucket until ctx ends.
func (r *Router) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.followOnce(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		r.log.Warn("routes cannot be watched, the last ones stay", events.KeyError, err)
		wait(ctx, time.Second)
	}
}

// followOnce watches until somebody asks for a fresh look.
func (r *Router) followOnce(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	defer func() { stop(); <-done }()
	again := false
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-r.reread:
			again = true
			stop()
		}
	}()
	err := r.bucket.Watch(ctx, "", r.obey)
	stop()
	<-done
	switch {
	case again:
		return nil
	case err == nil:
		return errors.New("the watch ended")
	}
	return err
}

// obey takes one value of the bucket. A route that cannot be served is refused
// and the last good one stays.
func (r *Router) obey(e events.Entry) {
	name, ok := strings.CutPrefix(e.Key, events.ServiceKey(""))
	if !ok {
		if r.database.Obey(e) {
			r.metrics.swaps.Inc()
			poke(r.beatNow)
			poke(r.saveNow)
		}
		return
	}
	old := r.routes.Load().services[name]
	if old != nil && !e.Version.After(old.epoch) && !e.Version.Foreign(old.epoch) {
		return
	}
	if e.Deleted() && old != nil && e.Version.Foreign(old.epoch) {
		// The bus was wiped. What it does not know yet is no order.
		r.log.Warn("the bus does not know this service, its last route stays", events.KeyService, name, events.KeyEpoch, e.Version.String())
		return
	}
	if e.Deleted() {
		if old != nil {
			r.log.Info("service is gone", events.KeyService, name, events.KeyEpoch, e.Version.String())
			r.replace(name, nil)
		}
		return
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
		if next.only == nil || one.name < next.only.name {
			next.only = one
		}
	}
	stays := map[*upstream]bool{}
	if s != nil {
		for i, u := range s.members {
			stays[u] = true
			u.leaving.Store(s.membership[i].Draining)
		}
	}
	var gone []*upstream
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
		u.wire.retire()
		if s != nil && len(s.replicas) > 0 {
			// It hangs, or its host is silent: what waits there would wait for
			// the whole timeout, and others can answer it.
			u.wire.abandon()
		}
	}
	for u := range stays {
		u.trialSoon() // there is news, perhaps of this one
	}
	r.metrics.swaps.Inc()
	close(r.news)
	r.news = make(chan struct{})
	poke(r.trialNow)
	poke(r.beatNow)
	poke(r.saveNow)
}

// hearLeader has the routes read again when the leader names, for longer than
// a heartbeat, an epoch that this router has not seen: a watch can fall silent.
func (r *Router) hearLeader(ctx context.Context) {
	for ctx.Err() == nil {
		behind := lag{patience: events.BeatEvery}
		stop, err := r.bus.Listen(events.HeartbeatController, func(_ string, data []byte) {
			b, err := events.DecodeControllerBeat(data)
			if err != nil {
				r.log.Warn("heartbeat of the controller is unreadable", events.KeyError, err)
				return
			}
			r.leaderHeard.Store(time.Now().UnixNano())
			if behind.tooLong(r.behind(b), time.Now()) {
				r.log.Warn("routes are behind the controller, reading them again", events.KeyToken, b.Term.String())
				poke(r.reread)
			}
		})
		if err == nil {
			<-ctx.Done()
			stop()
			return
		}
		r.log.Warn("the controller cannot be listened to", events.KeyError, err)
		wait(ctx, time.Second)
	}
}

// behind tells whether the leader serves an epoch that we do not.
func (r *Router) behind(b events.ControllerBeat) bool {
	services := r.routes.Load().services
	for name, epoch := range b.Epochs {
		if epoch.Zero() {
			continue
		}
		s := services[name]
		if s == nil || epoch.After(s.epoch) || epoch.Foreign(s.epoch) {
			return true
		}
	}
	return r.database.Behind(b.Tables)
}

// lag tells when somebody has been behind for too long, once for each
// patience that passes.
type lag struct {
	patience time.Duration
	since    time.Time
}

func (l *lag) tooLong(behind bool, now time.Time) bool {
	switch {
	case !behind:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = now
	case now.Sub(l.since) > l.patience:
		l.since = now
		return true
	}
	return false
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
