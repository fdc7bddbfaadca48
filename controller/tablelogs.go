package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/events"
)

// making is a log that is wanted and not made yet.
type making struct {
	busy    bool
	after   time.Time // no attempt before
	cleared bool      // whatever it takes the place of is gone
	settled bool      // ... and its origin is known for good
	done    bool
	err     error // of the last attempt
}

// originSettles is how long replicas may still tell of what they read from a
// log before it was deleted.
const originSettles = 3 * events.HeartbeatInterval

// makeLogs makes the logs that are wanted and not made yet, and remembers
// those that are made: nobody ever makes one again.
func (s *state) makeLogs(now time.Time) (effects []effect) {
	wanted := map[events.LogID]bool{}
	for _, name := range sorted(s.tables) {
		db := editable(s.tables[name].value)
		changed := false
		for i, l := range db.Logs {
			if l.Made {
				continue
			}
			id := events.LogID{Table: name, Shard: l.Shard, Incarnation: l.Incarnation}
			wanted[id] = true
			m := s.making[id]
			if m == nil {
				m = &making{cleared: l.Origin == nil, settled: l.Origin == nil}
				s.making[id] = m
			}
			switch {
			case m.done:
				db.Logs[i].Made, changed = true, true
			case m.busy || now.Before(m.after):
			case !m.cleared:
				m.busy = true
				effects = append(effects, clearLog{id})
			case !m.settled && s.overtaken(&db, l):
				changed = true
			default:
				m.busy, m.settled = true, true
				effects = append(effects, makeLog{id, l.First()})
			}
		}
		if changed {
			db.Decision = s.because()
			effects = append(effects, putTable{db})
		}
	}
	for id, m := range s.making {
		if !wanted[id] && !m.busy {
			delete(s.making, id)
		}
	}
	return effects
}

// logCleared takes the outcome of an attempt to make room for a log; there if
// it turned out that it is made.
func (s *state) logCleared(id events.LogID, there bool, err error, now time.Time) []effect {
	m := s.making[id]
	if m == nil {
		return nil
	}
	m.busy, m.cleared, m.done, m.err, m.after = false, err == nil, there, err, now.Add(originSettles)
	return s.logTrouble(id, err, now)
}

// logMade takes the outcome of an attempt to make a log.
func (s *state) logMade(id events.LogID, err error, now time.Time) []effect {
	m := s.making[id]
	if m == nil {
		return nil
	}
	m.busy, m.done, m.err = false, err == nil, err
	if err != nil {
		m.after = now.Add(s.cfg.MakeEvery)
	}
	return s.logTrouble(id, err, now)
}

func (s *state) logTrouble(id events.LogID, err error, now time.Time) []effect {
	if err == nil {
		return nil
	}
	return s.tellOnce(now, events.EntityShard, id.Table+"."+id.Shard, err)
}

// maxJobs bounds what a term does at the same time beside deciding.
const maxJobs = 8

// work does something slow apart from the decisions, and tells them how it
// ended. It ends with the term.
func (t *term) work(ctx context.Context, job func(context.Context) input) {
	t.jobs.Go(func() {
		select {
		case t.mayWork <- struct{}{}:
			defer func() { <-t.mayWork }()
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

// mayAct refuses what only a leader may do.
func (t *term) mayAct() error {
	if !t.lease.valid(time.Now()) {
		return errDeposed
	}
	return nil
}

func (t *term) makeLog(ctx context.Context, e makeLog) input {
	err := t.mayAct()
	if err == nil {
		var is events.LogState
		is, err = t.logs.CreateLog(ctx, e.id, e.first)
		// Nobody writes to it before it is made, so it is as its maker left it.
		if err == nil && (is.First != e.first || is.Last != e.first-1) {
			err = fmt.Errorf("create log %s: it holds %d to %d, and should be empty and begin at %d", e.id, is.First, is.Last, e.first)
		}
	}
	return func(s *state, now time.Time) []effect { return s.logMade(e.id, err, now) }
}

// clearLog deletes whatever log of the shard a new one takes the place of, as
// a person ordered.
func (t *term) clearLog(ctx context.Context, e clearLog) input {
	is, err := t.logs.LogState(ctx, e.id.Table, e.id.Shard)
	there := err == nil && is.Incarnation == e.id.Incarnation
	switch {
	case errors.Is(err, events.ErrLogMissing):
		err = nil
	case err == nil && !there:
		if err = t.mayAct(); err == nil {
			old := e.id
			old.Incarnation = is.Incarnation
			err = t.logs.DeleteLog(ctx, old)
		}
	}
	return func(s *state, now time.Time) []effect { return s.logCleared(e.id, there, err, now) }
}
