package cluster

import (
	"slices"
	"time"

	"ringway/events"
)

// Served reports whether every live router serves this epoch or a later one. Right
// after the leader was isolated it is not known which routers live.
func (s *State) Served(service string, epoch events.Epoch, now time.Time) bool {
	return servedBy(s, func(b *events.RouterHeartbeat) events.Epoch { return b.Epochs[service] }, epoch, now)
}

func servedBy(s *State, epochAt func(*events.RouterHeartbeat) events.Epoch, epoch events.Epoch, now time.Time) bool {
	live := 0
	for _, r := range s.Routers {
		if s.Silence(r.Seen, now) >= s.Cfg.SuspectAfter {
			continue
		}
		live++
		if at := epochAt(&r.Heartbeat); at != epoch && !at.After(epoch) {
			return false
		}
	}
	return live > 0 || now.Sub(s.Since) >= s.Cfg.SuspectAfter
}

// ReadyIn reports whether a replica is ready in a route; log "" is any.
func ReadyIn(route events.TableRoute, server, shard, log string) bool {
	sh, ok := route.Shard(shard)
	return ok && (log == "" || sh.Log.Incarnation == log) && IsReady(sh, server)
}

func (s *State) TableServed(table string, epoch events.Epoch, now time.Time) bool {
	return servedBy(s, func(b *events.RouterHeartbeat) events.Epoch { return b.Tables[table] }, epoch, now)
}

func IsReady(sh events.ShardRoute, server string) bool {
	return slices.ContainsFunc(sh.Replicas, func(r events.ShardReplica) bool { return r.Server == server && r.Ready })
}
