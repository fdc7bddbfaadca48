package tables

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// logPurge is what is known of a log's beginning.
type logPurge struct {
	busy  bool
	after time.Time
	first uint64
	hole  events.LogHole // that was published
}

// PurgeLogs drops what every replica has on its disk from the logs.
func (t *Tables) PurgeLogs(now time.Time) (effects []cluster.Effect) {
	s := t.s
	if s.Isolated(now) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := s.Tables[name].Value
		for _, l := range db.Logs {
			id := events.LogID{Table: name, Shard: l.Shard, Incarnation: l.Incarnation}
			p := t.purges[id]
			if !l.Made || p != nil && (p.busy || now.Before(p.after)) {
				continue
			}
			if p == nil {
				p = &logPurge{first: l.First()}
				t.purges[id] = p
			}
			p.after = now.Add(s.Cfg.PurgeEvery)
			worth := s.Cfg.MinPurge
			if hole, ok := holeOf(s, db, l); ok && hole.To >= p.first {
				worth = 1 // nobody can read over it
				if p.hole != hole {
					p.hole = hole
					effects = append(effects, s.Emit(now, events.EntityShard, events.VerbDamaged, name+"."+l.Shard, map[string]any{
						"log": l.Incarnation, "from": hole.From, "to": hole.To,
						"reason": "the disk of the bus lost it; replicas behind it are copied from one that is ready, and if none is, 'ringway shards recover' goes on from the most advanced",
					})...)
				}
			}
			if below := Purgeable(s, db, l); below >= p.first+worth {
				p.busy = true
				effects = append(effects, cluster.PurgeLog{ID: id, Below: below, MinPurge: worth, Done: func(first uint64, purged bool, err error, now time.Time) []cluster.Effect {
					return t.logPurged(id, below, first, purged, err, now)
				}})
			}
		}
	}
	return effects
}

// Purgeable is the seq below which nobody needs a log: 0 while that is not
// known of every replica that is wanted, or fewer than two are ready, or one of a
// shard that has no more. A replica that is being copied needs what follows its copy.
// The newest entries stay, but those before a hole, which help nobody.
func Purgeable(s *cluster.State, db events.Database, log events.ShardLog) uint64 {
	ready, least := 0, ^uint64(0)
	servers := cluster.ServersOf(db, log.Shard)
	for _, srv := range servers {
		reported, fresh := s.Reported(srv.Name, db.Table.Name, log.Shard)
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
		if cluster.ConfirmedReady(s, db, srv, log.Shard) {
			ready++
		}
		least = min(least, needs.Seq)
	}
	if ready == 0 || ready < min(2, len(servers)) {
		return 0
	}
	below := least + 1 - min(least+1, s.Cfg.KeepTail)
	if hole, ok := holeOf(s, db, log); ok && hole.To <= least {
		below = max(below, hole.To+1)
	}
	return below
}

// holeOf is the last hole of a log that its replicas have met; it may be purged since.
func holeOf(s *cluster.State, db events.Database, log events.ShardLog) (hole events.LogHole, ok bool) {
	for _, srv := range cluster.ServersOf(db, log.Shard) {
		r, _ := s.Reported(srv.Name, db.Table.Name, log.Shard)
		if r.Hole != nil && r.Applied.Incarnation == log.Incarnation && r.Hole.To > hole.To {
			hole, ok = *r.Hole, true
		}
	}
	return hole, ok
}

// logPurged takes the outcome. first is where the log began before.
func (t *Tables) logPurged(id events.LogID, below, first uint64, purged bool, err error, now time.Time) []cluster.Effect {
	p := t.purges[id]
	if p == nil {
		return nil
	}
	p.busy = false
	about := id.Table + "." + id.Shard
	switch {
	case err != nil:
		return t.s.EmitOnce(now, events.EntityShard, about, err)
	case !purged:
		p.first = max(p.first, first)
		return nil
	}
	p.first = below
	return t.s.Emit(now, events.EntityShard, events.VerbPurged, about, map[string]any{"log": id.Incarnation, "from": first, "below": below})
}
