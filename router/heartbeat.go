package router

import (
	"context"
	"net"
	"time"

	"ringway/events"
)

// sendHeartbeats publishes what this router serves: every HeartbeatInterval, and
// at once when that changed or a leaving member has nothing in flight any more.
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
// request of an older epoch is counted: see proxy.Proxy.
func (r *Router) heartbeat(now time.Time) events.RouterHeartbeat {
	services, tables := r.proxy.Epochs(), r.database.Routes().Epochs()
	return events.RouterHeartbeat{
		Router: r.cfg.ID, Address: addressOf(r.cfg.Public[0]), Sent: now.UTC(),
		Epochs: services, Tables: tables, InFlight: r.proxy.Snapshot().InFlight(),
	}
}

// addressOf is where clients reach a listener.
func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
