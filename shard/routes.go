package shard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"ringway/events"
)

// tableRoute is the last good route of a table.
type tableRoute struct {
	epoch events.Epoch
	route events.TableRoute
}

// follow obeys the routes of tables until ctx ends.
func (s *Server) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.followOnce(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.log.Warn("routes cannot be watched, the last ones stay", events.KeyError, err)
		pause(ctx, time.Second)
	}
}

// followOnce watches until somebody asks for a fresh look.
func (s *Server) followOnce(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	again := false
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
		case <-s.reread:
			again = true
			stop()
		}
	}()
	err := s.routes.Watch(ctx, events.TableKey("*"), s.obey)
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

// obey takes one value of the bucket. A route that cannot be obeyed is refused
// and the last good one stays.
func (s *Server) obey(e events.Entry) {
	name, ok := strings.CutPrefix(e.Key, events.TableKey(""))
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.tables[name]
	switch {
	case s.ctx == nil || known && !e.Version.After(old.epoch) && !e.Version.Foreign(old.epoch):
		return
	case e.Deleted() && known && e.Version.Foreign(old.epoch):
		// The bus was wiped. What it does not know yet is no order.
		s.log.Warn("the bus does not know this table, its last route stays", events.KeyTable, name, events.KeyEpoch, e.Version.String())
		return
	case e.Deleted():
		delete(s.tables, name)
		s.arrange(name, nil)
		return
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
	s.arrange(name, &route)
}

// arrange has a keeper for every shard of a table that is to be here, and none
// for others. The data of what is no longer wanted stays: nobody erases it by
// rule. The caller holds the lock.
func (s *Server) arrange(table string, route *events.TableRoute) {
	now := maps.Clone(*s.keepers.Load())
	wanted := map[shardKey]bool{}
	if route != nil {
		for _, shard := range route.Shards {
			aim, ok := aimOf(route, shard, s.cfg.ID)
			if !ok {
				continue
			}
			key := shardKey{table, shard.Shard}
			wanted[key] = true
			k := now[key]
			if k == nil {
				k = newKeeper(s, key, aim)
				k.after = s.leaving[key]
				delete(s.leaving, key)
				now[key] = k
				ctx, stop := context.WithCancel(s.ctx)
				k.stop = stop
				s.work.Go(func() { k.run(ctx) })
			}
			k.aimAt(aim)
		}
	}
	for key, k := range now {
		if key.table == table && !wanted[key] {
			k.say.Info("replica is not wanted here any more, its data stays")
			k.stop()
			s.leaving[key] = k.ended
			delete(now, key)
		}
	}
	s.keepers.Store(&now)
	s.beatSoon()
}

// hearLeader has the routes read again when the leader names, for longer than
// a heartbeat, an epoch that this server has not seen: a watch can fall silent.
func (s *Server) hearLeader(ctx context.Context) {
	for ctx.Err() == nil {
		var behind time.Time // since when
		stop, err := s.bus.Listen(events.HeartbeatController, func(_ string, data []byte) {
			b, err := events.DecodeControllerBeat(data)
			switch now := time.Now(); {
			case err != nil:
				s.log.Warn("heartbeat of the controller is unreadable", events.KeyError, err)
			case !s.behind(b):
				behind = time.Time{}
			case behind.IsZero():
				behind = now
			case now.Sub(behind) > events.BeatEvery:
				behind = now
				s.log.Warn("routes are behind the controller, reading them again", events.KeyToken, b.Term.String())
				poke(s.reread)
			}
		})
		if err == nil {
			<-ctx.Done()
			stop()
			return
		}
		s.log.Warn("the controller cannot be listened to", events.KeyError, err)
		pause(ctx, time.Second)
	}
}

// behind tells whether the leader serves an epoch that we do not.
func (s *Server) behind(b events.ControllerBeat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, epoch := range b.Tables {
		if epoch.Zero() {
			continue
		}
		if t, ok := s.tables[name]; !ok || epoch.After(t.epoch) || epoch.Foreign(t.epoch) {
			return true
		}
	}
	return false
}
