package shard

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"ringway/events"
	"ringway/events/follow"
	"ringway/shard/replica"
)

// tableRoute is the last good route of a table.
type tableRoute struct {
	epoch events.Epoch
	route events.TableRoute
}

// follow applies the routes of tables until ctx ends.
func (s *Server) follow(ctx context.Context) {
	f := follow.Follower{Values: s.routes, Bus: s.bus, Filter: events.TableKey("*"), Apply: s.apply, Behind: s.isBehind, Log: s.log}
	f.Run(ctx)
}

// isBehind reports whether the leader, by its heartbeat, serves an epoch that we
// do not.
func (s *Server) isBehind(b events.ControllerHeartbeat) (behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return follow.IsNewer(b.Tables, func(name string) events.Epoch { return s.tables[name].epoch })
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
	if s.ctx.Err() != nil {
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

// reconcile starts a manager for every shard of a table that the route wants here,
// and stops the others. The data of a replica that is no longer wanted stays. The
// caller holds the lock.
func (s *Server) reconcile(table string, route *events.TableRoute) {
	now := maps.Clone(*s.managers.Load())
	wanted := map[replica.Key]bool{}
	if route != nil {
		for _, shard := range route.Shards {
			target, ok := replica.TargetOf(route, shard, s.cfg.ID)
			if !ok {
				continue
			}
			key := replica.Key{Table: table, Shard: shard.Shard}
			wanted[key] = true
			if m := now[key]; m != nil {
				m.SetTarget(target)
				continue
			}
			now[key] = s.startManager(target, s.leaving[key])
			delete(s.leaving, key)
		}
	}
	for key, m := range now {
		if key.Table == table && !wanted[key] {
			s.log.Info("replica is not wanted here any more, its data stays", events.KeyTable, table, events.KeyShard, key.Shard)
			m.stop()
			s.leaving[key] = m.ended
			delete(now, key)
		}
	}
	s.managers.Store(&now)
	s.heartbeatSoon()
}

// startManager runs a manager once its predecessor, if there is one, has ended.
func (s *Server) startManager(target replica.Target, predecessor <-chan struct{}) *manager {
	ctx, stop := context.WithCancel(s.ctx)
	m := &manager{replica.New(s.host, target), stop, make(chan struct{})}
	s.work.Go(func() {
		defer close(m.ended)
		if predecessor != nil {
			<-predecessor
		}
		m.Run(ctx)
	})
	return m
}
