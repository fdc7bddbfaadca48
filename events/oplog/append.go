package oplog

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
)

// Pauses between two appends of one batch.
const (
	minPause = 10 * time.Millisecond
	maxPause = 250 * time.Millisecond
)

// send appends batch after batch until the queue is empty.
func (l *logQueue) send(ctx context.Context) {
	for {
		l.hold(ctx)
		b, data := l.nextBatch(ctx)
		if b == nil {
			return
		}
		l.append(ctx, b, data)
	}
}

// append brings one batch into the log, or finds out that it cannot be known
// whether it is there. Results say that it is as well as an acknowledgement,
// and may be all that comes.
func (l *logQueue) append(ctx context.Context, b *batch, data []byte) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	if !l.cuts(b, cut) {
		return
	}
	if failpoint.Broken("ack") {
		l.acknowledgeUnsent(b)
	}
	for attempt := 0; ; attempt++ {
		begun := time.Now()
		seq, err := l.writer.logs.Append(ctx, l.id, b.id, data)
		if err == nil {
			failpoint.Hit("after-append")
			l.acknowledged(b, seq)
			return
		}
		if l.failed(ctx, b, begun, err) {
			return
		}
		pause(ctx, attempt)
	}
}

// acknowledgeUnsent is what a writer must not do. Tests see that it is noticed.
func (l *logQueue) acknowledgeUnsent(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range b.calls {
		b.calls[i] = &call{done: make(chan answer, 1), index: i} // for the true one, which nobody reads
		c.done <- answer{result: Result{Result: shardlog.Result{Op: i, Outcome: shardlog.Done}, Batch: b.id}}
	}
}

// hold lets ops gather: a batch costs every replica as much as many ops do.
// While Config.Ahead batches are unanswered the next one would not be applied
// sooner, and is held for Linger. Afterwards it is held for those who were there
// at the last answer: they are likely to be back soon, in Pace for each but the
// first, or in PaceMost, or in as long as that batch took: where everything is
// slow, so are they. It ends early when most of them are back, or the batch is
// full. One client alone is all of its crowd, and is not held up.
func (l *logQueue) hold(ctx context.Context) {
	for since := time.Now(); ctx.Err() == nil; {
		left := l.early(since, time.Now())
		if left <= 0 {
			return
		}
		over := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-over.C:
		case <-l.notified:
		}
		over.Stop()
	}
}

// early is how long the next batch, held since a time, waits still for more to
// join it, unless told.
func (l *logQueue) early(since, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := &l.writer.cfg
	switch {
	case l.bytes >= cfg.BatchBytes:
		return 0
	case len(l.waiting) >= cfg.MaxInFlight:
		return since.Add(cfg.Linger).Sub(now)
	case len(l.queue) >= l.enough():
		return 0
	}
	most := max(cfg.MaxDelay, min(l.lastBatch, cfg.Linger))
	return l.answered.Add(min(time.Duration(l.groupSize-1)*cfg.DelayPerOp, most)).Sub(now)
}

// enough is how many of the crowd need not wait for the rest. Calls whose
// callers left the queue count: that makes a batch no later.
func (l *logQueue) enough() int { return l.groupSize - l.groupSize/10 }

// cuts arranges that results end the append.
func (l *logQueue) cuts(b *batch, cut context.CancelFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.cut = cut
	return !b.resolved
}

func (l *logQueue) acknowledged(b *batch, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.seq, b.stored, b.cut = seq, time.Now(), nil
	l.up()
}

// up notes that the log takes batches. The caller holds the lock.
func (l *logQueue) up() {
	if l.down.IsZero() {
		return
	}
	l.writer.log.Info("log takes batches again", events.KeyTable, l.id.Table, events.KeyShard, l.id.Shard, "after", time.Since(l.down))
	l.down, l.why = time.Time{}, nil
}

// failed reports whether to leave it at that, after telling the callers what
// can be said.
func (l *logQueue) failed(ctx context.Context, b *batch, begun time.Time, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.resolved {
		b.cut = nil
		return true
	}
	now, cfg := time.Now(), &l.writer.cfg
	if l.down.IsZero() && ctx.Err() == nil {
		l.down = now
		l.writer.log.Warn("log takes no batches", events.KeyTable, l.id.Table, events.KeyShard, l.id.Shard, events.KeyError, err)
	}
	l.why = err
	unknown := errors.Is(err, events.ErrUnknownOutcome)
	if unknown && b.sent.IsZero() {
		b.sent = begun
	}
	var done bool
	switch {
	case ctx.Err() != nil, lasting(err) && !unknown:
		done = true
	case b.sent.IsZero():
		done = now.Sub(l.down) > cfg.Patience
	default:
		done = now.Sub(b.sent) > cfg.Resend
	}
	if !done {
		return false
	}
	b.cut = nil
	l.settle(b, func(c *call) answer {
		if b.sent.IsZero() {
			return answer{err: notSent(l.id, err)}
		}
		return b.unknown(c, err)
	})
	return true
}

// lasting errors do not pass while a client waits.
func lasting(err error) bool {
	var refusal *events.StatusError
	return errors.Is(err, events.ErrLogForeign) || errors.Is(err, events.ErrLogFull) || errors.As(err, &refusal)
}

// pause waits before the next attempt, longer each time, or until ctx ends.
func pause(ctx context.Context, attempt int) {
	d := min(minPause<<min(attempt, 10), maxPause)
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
