package router

import (
	"context"
	"strings"
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
	served := r.proxy.Snapshot().Epochs()
	return r.database.Behind(b.Tables) || follow.IsNewer(b.Epochs, func(name string) events.Epoch { return served[name] })
}

// apply takes one value of the bucket: the route of a service or of a table.
func (r *Router) apply(e events.Entry) {
	changed := false
	if name, ok := strings.CutPrefix(e.Key, events.ServiceKey("")); ok {
		changed = r.proxy.Apply(name, e)
	} else {
		changed = r.database.Apply(e)
	}
	if changed {
		r.swaps.Inc()
		r.heartbeatNow.Notify()
		r.saveNow.Notify()
	}
}
