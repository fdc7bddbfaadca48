package oplog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
)

var (
	errPatience  = errors.New("it waited too long to be sent")
	errNoResults = errors.New("no replica told its results in time")
)

// resolve answers the calls of a batch whose results are known.
func (l *logQueue) resolve(b *batch, r shardlog.Results) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.resolved {
		return nil
	}
	if r.Batch != b.id || r.Table != l.id.Table || r.Shard != l.id.Shard || r.Ops != len(b.calls) || r.Seq == 0 {
		return fmt.Errorf("batch %s has %d ops; the results are of %s with %d at %d", b.id, len(b.calls), r.Batch, r.Ops, r.Seq)
	}
	if b.seq == 0 { // the acknowledgement is late, or lost
		l.up()
	}
	l.settle(b, func(c *call) answer {
		return answer{result: Result{Result: r.Op(c.index), Batch: b.id, Seq: r.Seq}}
	})
	return nil
}

// settle gives each call of a batch its answer. The caller holds the lock.
func (l *logQueue) settle(b *batch, answerOf func(*call) answer) {
	b.resolved = true
	if b.cut != nil {
		b.cut()
	}
	for _, c := range b.calls {
		if !c.gone {
			c.done <- answerOf(c)
		}
	}
	l.answered, l.groupSize = time.Now(), l.ops
	l.lastBatch = l.answered.Sub(b.made)
	l.ops -= len(b.calls)
	l.waiting = slices.DeleteFunc(l.waiting, func(other *batch) bool { return other == b })
	l.writer.forget(b)
	l.notified.Notify()
}

// expire gives up what has waited too long, and looks up at a replica
// the results that do not come.
func (l *logQueue) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := &l.writer.cfg
	l.removeCalls(func(c *call) bool {
		late := now.Sub(c.since) > cfg.Patience
		switch {
		case c.gone:
			return true
		case late && l.why != nil:
			c.done <- answer{err: notSent(l.id, l.why)}
		case late:
			c.done <- answer{err: notSent(l.id, errPatience)}
		case c.over(now):
			c.done <- answer{err: notAwaited(l.id, context.DeadlineExceeded)}
			return true
		}
		return late
	})
	var overdue []*batch
	for _, b := range slices.Clone(l.waiting) {
		switch {
		case !b.stored.IsZero() && now.Sub(b.stored) > cfg.ResultWait:
			l.settle(b, func(c *call) answer { return b.unknown(c, errNoResults) })
			continue
		case !b.stored.IsZero() && now.Sub(b.stored) > cfg.LookupAfter, !b.sent.IsZero() && now.Sub(b.sent) > cfg.LookupAfter:
			overdue = append(overdue, b)
		}
		for _, c := range b.calls {
			if !c.gone && c.over(now) {
				c.gone = true
				c.done <- b.unknown(c, context.DeadlineExceeded)
			}
		}
	}
	if len(overdue) > 0 && !l.lookingUp && now.Sub(l.lookedUp) > cfg.LookupAfter {
		l.lookedUp = now
		l.lookingUp = l.writer.start(func(ctx context.Context) { l.lookUp(ctx, overdue) })
	}
}

// lookUp reads overdue results from a replica, the oldest first.
func (l *logQueue) lookUp(ctx context.Context, overdue []*batch) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lookingUp = false
	}()
	for _, b := range overdue {
		if l.settled(b) {
			continue
		}
		r, err := l.request(ctx, b)
		if err == nil {
			err = l.resolve(b, r)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case errors.Is(err, events.ErrNotFound) && l.unsure(b):
			// It may not be in the log; those after it may be applied all the same.
		default:
			// What follows in the log is not known either.
			l.writer.log.Debug("results are late", events.KeyTable, l.id.Table, events.KeyShard, l.id.Shard, "batch", b.id, events.KeyError, err)
			return
		}
	}
}

func (l *logQueue) request(ctx context.Context, b *batch) (shardlog.Results, error) {
	ctx, stop := context.WithTimeout(ctx, l.writer.cfg.LookupTimeout)
	defer stop()
	return l.writer.replicas.Results(ctx, l.id, b.id)
}

func (l *logQueue) settled(b *batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return b.resolved
}

func (l *logQueue) unsure(b *batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return b.seq == 0
}
