package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/events/streams"
	"ringway/internal/failpoint"
)

// maxJobs bounds what a term does at the same time beside deciding.
const maxJobs = 8

// runJob does something slow apart from the decisions; its outcome is an input of
// theirs. It ends with the term.
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

func (t *term) createLog(ctx context.Context, e cluster.CreateLog) input {
	err := t.checkLease()
	if err == nil {
		var is shardlog.LogState
		is, err = t.logs.CreateLog(ctx, e.ID, e.First)
		// Nobody writes to it before it is stored as created, so it must be empty.
		if err == nil && (is.First != e.First || is.Last != e.First-1) {
			err = fmt.Errorf("create log %s: it holds %d to %d, and should be empty and begin at %d", e.ID, is.First, is.Last, e.First)
		}
	}
	return func(now time.Time) []cluster.Effect { return e.Done(err, now) }
}

// deleteOldLog deletes whatever log of the shard a new one takes the place of, as
// a person ordered.
func (t *term) deleteOldLog(ctx context.Context, e cluster.DeleteOldLog) input {
	is, err := t.logs.LogState(ctx, e.ID.Table, e.ID.Shard)
	there := err == nil && is.Incarnation == e.ID.Incarnation
	switch {
	case errors.Is(err, events.ErrLogMissing):
		err = nil
	case err == nil && !there:
		if err = t.checkLease(); err == nil {
			old := e.ID
			old.Incarnation = is.Incarnation
			err = t.logs.DeleteLog(ctx, old)
		}
	}
	return func(now time.Time) []cluster.Effect { return e.Done(there, err, now) }
}

// addCopies has the bus give its streams the copies that they lack, one after
// another, until ctx ends: servers may join, or come back, at any time.
func (t *term) addCopies(ctx context.Context) {
	var failed string
	for {
		var added *streams.Added
		err := t.checkLease()
		if err == nil {
			added, err = t.bus.AddCopies(ctx)
		}
		if err != nil && ctx.Err() == nil && err.Error() != failed {
			failed = err.Error()
			t.log.Warn("streams of the bus are not given more copies", events.KeyError, err)
		}
		pause := t.cfg.CopiesEvery
		if added != nil {
			pause = min(pause, t.cfg.RenewEvery)
			in := func(now time.Time) []cluster.Effect {
				return t.state.Emit(now, events.EntityBus, events.VerbScaled, added.Stream, map[string]any{"from": added.Before, "to": added.Copies})
			}
			select {
			case t.inputs <- in:
			case <-ctx.Done():
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// purgeLog does the work, apart from the decisions.
func (t *term) purgeLog(ctx context.Context, e cluster.PurgeLog) input {
	there, err := t.logs.LogState(ctx, e.ID.Table, e.ID.Shard)
	if err == nil && there.Incarnation != e.ID.Incarnation {
		err = fmt.Errorf("purge log %s: %w: its incarnation is %s", e.ID, events.ErrLogForeign, there.Incarnation)
	}
	worth := err == nil && e.Below >= there.First+e.MinPurge
	if worth {
		if err = t.checkLease(); err == nil {
			failpoint.Hit("purge")
			err = t.logs.PurgeLog(ctx, e.ID, e.Below)
			failpoint.Hit("purged")
		}
	}
	return func(now time.Time) []cluster.Effect { return e.Done(there.First, worth, err, now) }
}
