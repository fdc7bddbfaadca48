package controller

import (
	"context"
	"fmt"
	"time"

	"ringway/events"
	"ringway/internal/failpoint"
)

// logPurge is what is known of a log's beginning.
type logPurge struct {
	busy  bool
	after time.Time
	first uint64
}

// purgeLogs drops what every replica has on its disk from the logs.
func (s *state) purgeLogs(now time.Time) (effects []effect) {
	if s.isolated(now) {
		return nil
	}
	for _, name := range sorted(s.tables) {
		db := s.tables[name].value
		for _, l := range db.Logs {
			id := events.LogID{Table: name, Shard: l.Shard, Incarnation: l.Incarnation}
			p := s.purges[id]
			if !l.Made || p != nil && (p.busy || now.Before(p.after)) {
				continue
			}
			if p == nil {
				p = &logPurge{first: l.First()}
				s.purges[id] = p
			}
			p.after = now.Add(s.cfg.PurgeEvery)
			if below := s.purgeable(db, l); below >= p.first+s.cfg.MinPurge {
				p.busy = true
				effects = append(effects, purgeLog{id: id, below: below, worth: s.cfg.MinPurge})
			}
		}
	}
	return effects
}

// purgeable is the seq below which nobody needs a log: 0 while that is not
// known of every replica that is wanted, or fewer than two are ready. A replica
// that is being copied needs what follows its copy.
func (s *state) purgeable(db events.Database, log events.ShardLog) uint64 {
	ready, least := 0, ^uint64(0)
	for _, srv := range serversOf(db, log.Shard) {
		reported, fresh := s.reported(srv.Name, db.Table.Name, log.Shard)
		needs := reported.Durable
		switch reported.State {
		case events.ReplicaReady, events.ReplicaCatchingUp:
		case events.ReplicaCopying:
			needs = reported.Applied
		default:
			return 0
		}
		if !fresh || needs.Incarnation != log.Incarnation {
			return 0
		}
		if s.confirmedReady(srv, db.Table.Name, log) {
			ready++
		}
		least = min(least, needs.Seq)
	}
	if ready < 2 || least+1 <= s.cfg.KeepTail {
		return 0
	}
	return least + 1 - s.cfg.KeepTail
}

// purgeLog does the work, apart from the decisions.
func (t *term) purgeLog(ctx context.Context, e purgeLog) input {
	there, err := t.logs.LogState(ctx, e.id.Table, e.id.Shard)
	if err == nil && there.Incarnation != e.id.Incarnation {
		err = fmt.Errorf("purge log %s: %w: its incarnation is %s", e.id, events.ErrLogForeign, there.Incarnation)
	}
	worth := err == nil && e.below >= there.First+e.worth
	if worth {
		if err = t.checkLease(); err == nil {
			failpoint.Hit("purge")
			err = t.logs.PurgeLog(ctx, e.id, e.below)
			failpoint.Hit("purged")
		}
	}
	return func(s *state, now time.Time) []effect { return s.logPurged(e, there.First, worth, err, now) }
}

// logPurged takes the outcome. first is where the log began before.
func (s *state) logPurged(e purgeLog, first uint64, worth bool, err error, now time.Time) []effect {
	p := s.purges[e.id]
	if p == nil {
		return nil
	}
	p.busy = false
	about := e.id.Table + "." + e.id.Shard
	switch {
	case err != nil:
		return s.emitOnce(now, events.EntityShard, about, err)
	case !worth:
		p.first = max(p.first, first)
		return nil
	}
	p.first = e.below
	return s.emit(now, events.EntityShard, events.VerbPurged, about, map[string]any{"log": e.id.Incarnation, "from": first, "below": e.below})
}
