package router

import (
	"context"
	"net"
	"time"

	"ringway/events"
)

// sendHeartbeats publishes what this router serves: every HeartbeatInterval, and at once
// when that changed or a leaving member has nothing in flight any more.
func (r *Router) sendHeartbeats(ctx context.Context) {
	ticker := time.NewTicker(events.HeartbeatInterval)
	defer ticker.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.heartbeatNow:
		}
		err := r.bus.Publish(events.RouterSubject(r.cfg.ID), r.heartbeat(time.Now()))
		if err != nil && !silent && ctx.Err() == nil {
			r.log.Warn("heartbeats do not get out", events.KeyError, err)
		}
		silent = err != nil
	}
}

// heartbeat reads the epochs first and the counters after them, so that every
// request of an older epoch is counted: see enter.
func (r *Router) heartbeat(now time.Time) events.RouterHeartbeat {
	rt := r.routes.Load()
	b := events.RouterHeartbeat{Router: r.cfg.ID, Address: addressOf(r.cfg.Public[0]), Sent: now.UTC(), Epochs: map[string]events.Epoch{}, Tables: r.database.Epochs()}
	for name, s := range rt.services {
		b.Epochs[name] = s.epoch
	}
	b.InFlight = rt.inFlight(false)
	return b
}

// addressOf is where clients reach a listener.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// inFlight is the number of requests by service and member; members without
// any are left out unless all is set.
func (rt *routes) inFlight(all bool) map[string]map[string]int {
	count := map[string]map[string]int{}
	add := func(u *member) {
		n := int(u.inflight.Load())
		if n <= 0 && !all {
			return
		}
		if count[u.metrics.service] == nil {
			count[u.metrics.service] = map[string]int{}
		}
		count[u.metrics.service][u.name] += n
	}
	for _, s := range rt.services {
		for _, u := range s.members {
			add(u)
		}
	}
	for _, u := range rt.departed {
		if all && u.inflight.Load() == 0 {
			continue
		}
		add(u)
	}
	return count
}

// sweep ends connections to members that nobody has used for long.
func (r *Router) sweep(ctx context.Context) {
	ticker := time.NewTicker(r.cfg.Keep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, u := range r.routes.Load().everyone() {
				u.pool.Expire(now.Add(-r.cfg.Keep))
			}
		}
	}
}

func (rt *routes) everyone() []*member {
	all := append([]*member(nil), rt.departed...)
	for _, s := range rt.services {
		all = append(all, s.members...)
	}
	return all
}
