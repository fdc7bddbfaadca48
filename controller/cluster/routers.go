package cluster

import (
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

func (s *State) TableServed(table string, epoch events.Epoch, now time.Time) bool {
	return servedBy(s, func(b *events.RouterHeartbeat) events.Epoch { return b.Tables[table] }, epoch, now)
}
