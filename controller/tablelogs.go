package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/events"
)

// making is a log that is wanted and not made yet.
type logCreation struct {
	busy       bool
	after      time.Time // no attempt before
	oldDeleted bool      // whatever it takes the place of is gone
	settled    bool      // ... and its origin is known for good
	done       bool
	err        error // of the last attempt
}

// originSettles is how long replicas may still tell of what they read from a
// log before it was deleted.
const originSettles = 3 * events.HeartbeatInterval

// createLogs makes the logs that are wanted and not made yet, and remembers
// those that are made: nobody ever makes one again.
func (s *state) createLogs(now time.Time) (effects []effect) {
	wanted := map[events.LogID]bool{}
	for _, name := range sorted(s.tables) {
		db := cloneTable(s.tables[name].value)
		changed := false
		for i, l := range db.Logs {
			if l.Made {
				continue
			}
			id := events.LogID{Table: name, Shard: l.Shard, Incarnation: l.Incarnation}
			wanted[id] = true
			m := s.creations[id]
			if m == nil {
				m = &logCreation{oldDeleted: l.Origin == nil, settled: l.Origin == nil}
				s.creations[id] = m
			}
			srv, at, better := s.betterOrigin(db, l)
			switch {
			case m.done:
				db.Logs[i].Made, changed = true, true
			case m.busy || now.Before(m.after):
			case !m.oldDeleted:
				m.busy = true
				effects = append(effects, deleteOldLog{id})
			case !m.settled && better:
				s.advanceOrigin(&db, l, srv, at)
				changed = true
			default:
				m.busy, m.settled = true, true
				effects = append(effects, createLog{id, l.First()})
			}
		}
		if changed {
			db.Decision = s.because()
			effects = append(effects, putTable{db})
		}
	}
	for id, m := range s.creations {
		if !wanted[id] && !m.busy {
			delete(s.creations, id)
		}
	}
	return effects
}

// oldLogDeleted takes the outcome of an attempt to make room for a log; there if
// it turned out that it is made.
func (s *state) oldLogDeleted(id events.LogID, there bool, err error, now time.Time) []effect {
	m := s.creations[id]
	if m == nil {
		return nil
	}
	m.busy, m.oldDeleted, m.done, m.err, m.after = false, err == nil, there, err, now.Add(originSettles)
	return s.reportLogError(id, err, now)
}

// logCreated takes the outcome of an attempt to make a log.
func (s *state) logCreated(id events.LogID, err error, now time.Time) []effect {
	m := s.creations[id]
	if m == nil {
		return nil
	}
	m.busy, m.done, m.err = false, err == nil, err
	if err != nil {
		m.after = now.Add(s.cfg.CreateLogEvery)
	}
	return s.reportLogError(id, err, now)
}

func (s *state) reportLogError(id events.LogID, err error, now time.Time) []effect {
	if err == nil {
		return nil
	}
	return s.emitOnce(now, events.EntityShard, id.Table+"."+id.Shard, err)
}

// maxJobs bounds what a term does at the same time beside deciding.
const maxJobs = 8

// runJob does something slow apart from the decisions, and tells them how it
// ended. It ends with the term.
func (t *term) runJob(ctx context.Context, job func(context.Context) input) {
	t.jobs.Go(func() {
		select {
		case t.jobSlots <- struct{}{}:
			defer func() { <-t.jobSlots }()
		case <-ctx.Done():
			return
		}
		call, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
		defer cancel()
		in := job(call)
		select {
		case t.inputs <- in:
		case <-ctx.Done():
		}
	})
}

// checkLease refuses what only a leader may do.
func (t *term) checkLease() error {
	if !t.lease.valid(time.Now()) {
		return errDeposed
	}
	return nil
}

func (t *term) createLog(ctx context.Context, e createLog) input {
	err := t.checkLease()
	if err == nil {
		var is events.LogState
		is, err = t.logs.CreateLog(ctx, e.id, e.first)
		// Nobody writes to it before it is made, so it is as its maker left it.
		if err == nil && (is.First != e.first || is.Last != e.first-1) {
			err = fmt.Errorf("create log %s: it holds %d to %d, and should be empty and begin at %d", e.id, is.First, is.Last, e.first)
		}
	}
	return func(s *state, now time.Time) []effect { return s.logCreated(e.id, err, now) }
}

// deleteOldLog deletes whatever log of the shard a new one takes the place of, as
// a person ordered.
func (t *term) deleteOldLog(ctx context.Context, e deleteOldLog) input {
	is, err := t.logs.LogState(ctx, e.id.Table, e.id.Shard)
	there := err == nil && is.Incarnation == e.id.Incarnation
	switch {
	case errors.Is(err, events.ErrLogMissing):
		err = nil
	case err == nil && !there:
		if err = t.checkLease(); err == nil {
			old := e.id
			old.Incarnation = is.Incarnation
			err = t.logs.DeleteLog(ctx, old)
		}
	}
	return func(s *state, now time.Time) []effect { return s.oldLogDeleted(e.id, there, err, now) }
}
