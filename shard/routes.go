package shard

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"ringway/events"
	"ringway/events/follow"
)

// tableRoute is the last good route of a table.
type tableRoute struct {
	epoch events.Epoch
	route events.TableRoute
}

// follow obeys the routes of tables until ctx ends.
func (s *Server) follow(ctx context.Context) {
	f := follow.Follower{Values: s.routes, Bus: s.bus, Filter: events.TableKey("*"), Apply: s.apply, Behind: s.isBehind, Log: s.log}
	f.Run(ctx)
}

// isBehind reports whether the leader, by its heartbeat, serves an epoch that we
// do not.
func (s *Server) isBehind(b events.ControllerHeartbeat) (behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return events.IsNewer(b.Tables, func(name string) events.Epoch { return s.tables[name].epoch })
}

// apply applies one value of the bucket. A route that cannot be applied is refused
// and the last good one stays.
func (s *Server) apply(e events.Entry) {
	name, ok := strings.CutPrefix(e.Key, events.TableKey(""))
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return
	}
	switch e.News(s.tables[name].epoch) {
	case events.Stale:
		return
	case events.Wiped:
		s.log.Warn("the bus does not know this table, its last route stays", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		return
	case events.Gone:
		delete(s.tables, name)
		s.reconcile(name, nil)
		return
	case events.Fresh:
	}
	route, err := events.DecodeTableRoute(e.Value)
	if err == nil && route.Table.Name != name {
		err = fmt.Errorf("the key is of table %s, the value of %s", name, route.Table.Name)
	}
	if err != nil {
		s.log.Error("route refused, the last good one stays", events.KeyTable, name, events.KeyEpoch, e.Version.String(), events.KeyError, err)
		return
	}
	s.tables[name] = tableRoute{e.Version, route}
	s.reconcile(name, &route)
}

// arrange has a manager for every shard of a table that is to be here, and none
// for others. The data of what is no longer wanted stays: nobody erases it by
// rule. The caller holds the lock.
func (s *Server) reconcile(table string, route *events.TableRoute) {
	now := maps.Clone(*s.managers.Load())
	wanted := map[shardKey]bool{}
	if route != nil {
		for _, shard := range route.Shards {
			target, ok := targetOf(route, shard, s.cfg.ID)
			if !ok {
				continue
			}
			key := shardKey{table, shard.Shard}
			wanted[key] = true
			m := now[key]
			if m == nil {
				m = newManager(s, key, target)
				m.after = s.leaving[key]
				delete(s.leaving, key)
				now[key] = m
				ctx, stop := context.WithCancel(s.ctx)
				m.stop = stop
				s.work.Go(func() { m.run(ctx) })
			}
			m.setTarget(target)
		}
	}
	for key, m := range now {
		if key.table == table && !wanted[key] {
			m.logger.Info("replica is not wanted here any more, its data stays")
			m.stop()
			s.leaving[key] = m.ended
			delete(now, key)
		}
	}
	s.managers.Store(&now)
	s.heartbeatSoon()
}
