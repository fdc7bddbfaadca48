package tables

import (
	"maps"
	"slices"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// logCreation is a log that is wanted and not created yet.
type logCreation struct {
	busy       bool
	after      time.Time // no attempt before
	oldDeleted bool      // whatever it takes the place of is gone
	settled    bool      // ... and its origin is known for good
	done       bool
	err        error // of the last attempt
}

// OriginSettles is how long replicas may still report what they read from a
// log before it was deleted.
const OriginSettles = 3 * events.HeartbeatInterval

// CreateLogs creates the logs that are wanted and not created yet, and stores
// which are: nobody ever creates one again.
func (t *Tables) CreateLogs(now time.Time) (effects []cluster.Effect) {
	s := t.s
	wanted := map[events.LogID]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.Tables)) {
		db := cluster.CloneTable(s.Tables[name].Value)
		changed := false
		for i, l := range db.Logs {
			if l.Made {
				continue
			}
			id := events.LogID{Table: name, Shard: l.Shard, Incarnation: l.Incarnation}
			wanted[id] = true
			m := t.creations[id]
			if m == nil {
				m = &logCreation{oldDeleted: l.Origin == nil, settled: l.Origin == nil}
				t.creations[id] = m
			}
			srv, at, better := betterOrigin(s, db, l)
			switch {
			case m.done:
				db.Logs[i].Made, changed = true, true
			case m.busy || now.Before(m.after):
			case !m.oldDeleted:
				m.busy = true
				effects = append(effects, cluster.DeleteOldLog{ID: id, Done: func(exists bool, err error, now time.Time) []cluster.Effect {
					return t.oldLogDeleted(id, exists, err, now)
				}})
			case !m.settled && better:
				t.advanceOrigin(&db, l, srv, at)
				changed = true
			default:
				m.busy, m.settled = true, true
				effects = append(effects, cluster.CreateLog{ID: id, First: l.First(), Done: func(err error, now time.Time) []cluster.Effect { return t.logCreated(id, err, now) }})
			}
		}
		if changed {
			db.Decision = s.Because()
			effects = append(effects, cluster.PutTable{Value: db})
		}
	}
	for id, m := range t.creations {
		if !wanted[id] && !m.busy {
			delete(t.creations, id)
		}
	}
	return effects
}

// oldLogDeleted takes the outcome of an attempt to delete the log that another one
// replaces; there: that one exists already.
func (t *Tables) oldLogDeleted(id events.LogID, there bool, err error, now time.Time) []cluster.Effect {
	m := t.creations[id]
	if m == nil {
		return nil
	}
	m.busy, m.oldDeleted, m.done, m.err, m.after = false, err == nil, there, err, now.Add(OriginSettles)
	return reportLogError(t.s, id, err, now)
}

// logCreated takes the outcome of an attempt to create a log.
func (t *Tables) logCreated(id events.LogID, err error, now time.Time) []cluster.Effect {
	m := t.creations[id]
	if m == nil {
		return nil
	}
	m.busy, m.done, m.err = false, err == nil, err
	if err != nil {
		m.after = now.Add(t.s.Cfg.CreateLogEvery)
	}
	return reportLogError(t.s, id, err, now)
}

func reportLogError(s *cluster.State, id events.LogID, err error, now time.Time) []cluster.Effect {
	if err == nil {
		return nil
	}
	return s.EmitOnce(now, events.EntityShard, id.Table+"."+id.Shard, err)
}
