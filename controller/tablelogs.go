package controller

import (
	"context"
	"errors"
	"time"

	"ringway/events"
)

// making is a log that has been asked for.
type making struct {
	busy  bool
	after time.Time // no attempt before
	done  bool
	err   error // of the last attempt
}

// purging is what is known of a log's beginning.
type purging struct {
	busy  bool
	after time.Time
	first uint64
}

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
			switch {
			case m == nil:
				m = &making{}
				s.making[id] = m
				fallthrough
			case !m.busy && !m.done && !now.Before(m.after):
				m.busy = true
				effects = append(effects, makeLog{id: id, first: l.First(), replace: l.Origin != nil})
			case m.done:
				db.Logs[i].Made, changed = true, true
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

// logMade takes the outcome of an attempt.
func (s *state) logMade(id events.LogID, err error, now time.Time) []effect {
	m := s.making[id]
	if m == nil {
		return nil
	}
	m.busy, m.done, m.err, m.after = false, err == nil, err, now.Add(s.cfg.MakeEvery)
	if err != nil {
		return s.tellOnce(now, events.EntityShard, id.Table+"."+id.Shard, err)
	}
	return nil
}

func (s *state) purge(now time.Time) []effect { return nil }

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

func (t *term) makeLog(ctx context.Context, e makeLog) input {
	err := t.clearLog(ctx, e)
	if err == nil {
		if err = t.mayAct(); err == nil {
			_, err = t.logs.CreateLog(ctx, e.id, e.first)
		}
	}
	return func(s *state, now time.Time) []effect { return s.logMade(e.id, err, now) }
}

// clearLog makes room for a log that takes the place of another.
func (t *term) clearLog(ctx context.Context, e makeLog) error {
	if !e.replace {
		return nil
	}
	there, err := t.logs.LogState(ctx, e.id.Table, e.id.Shard)
	switch {
	case errors.Is(err, events.ErrLogMissing) || err == nil && there.Incarnation == e.id.Incarnation:
		return nil
	case err != nil:
		return err
	}
	if err := t.mayAct(); err != nil {
		return err
	}
	old := e.id
	old.Incarnation = there.Incarnation
	return t.logs.DeleteLog(ctx, old)
}

// mayAct refuses what only a leader may do.
func (t *term) mayAct() error {
	if !t.lease.valid(time.Now()) {
		return errDeposed
	}
	return nil
}

func (t *term) purgeLog(ctx context.Context, e purgeLog) input {
	return func(*state, time.Time) []effect { return nil }
}
