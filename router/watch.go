package router

import (
	"context"
	"time"

	"ringway/events"
	"ringway/events/follow"
)

// follow applies the routes of the bucket until ctx ends.
func (r *Router) follow(ctx context.Context) {
	f := follow.Follower{Values: r.bucket, Bus: r.bus, Apply: r.apply, Behind: r.behind, Log: r.log}
	f.Run(ctx)
}

// behind takes a heartbeat of the leader, and reports whether it serves an
// epoch that we do not.
func (r *Router) behind(b events.ControllerHeartbeat) bool {
	r.leader.seen.Store(time.Now().UnixNano())
	behind := r.proxy.Behind(b.Epochs) || r.database.Routes().Behind(b.Tables)
	if !behind {
		r.database.Heard()
	}
	return behind
}

// apply takes one value of the bucket: the route of a service or of a table.
func (r *Router) apply(e events.Entry) {
	r.database.Heard() // the others follow at once
	if r.proxy.Apply(e) || r.database.Apply(e) {
		r.swaps.Inc()
		r.heartbeatNow.Notify()
		r.saveNow.Notify()
	}
}
