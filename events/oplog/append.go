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
// whether it is there. Results prove that it is as an acknowledgement does,
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

// hold waits until the next batch is to be made: a batch costs every replica as
// much as many ops do, so several ops share one. This is group commit. While
// Config.MaxInFlight batches are unanswered the next one would not be applied
// sooner, and is held for Config.Linger; afterwards for delay.
func (l *logQueue) hold(ctx context.Context) {
	for since := time.Now(); ctx.Err() == nil; {
		left := l.remaining(since, time.Now())
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

// remaining is how long the next batch, held since a time, still waits for more
// ops, unless it is notified.
func (l *logQueue) remaining(since, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := &l.writer.cfg
	switch {
	case l.bytes >= cfg.BatchBytes:
		return 0
	case len(l.waiting) >= cfg.MaxInFlight:
		return since.Add(cfg.Linger).Sub(now)
	case len(l.queue) >= l.fullGroup():
		return 0
	}
	return l.answered.Add(l.delay()).Sub(now)
}

// delay is how long after an answer the next batch waits for the callers who were
// just answered: those who write in a loop are likely to be back soon.
//
//	delay = min((groupSize - 1) · DelayPerOp, max(MaxDelay, min(lastBatch, Linger)))
//
// groupSize is the number of ops that were there at the answer, those of the
// batch included, and lastBatch the time from making that batch to its answer:
// where everything is slow, so are the callers. One caller alone is a group of
// one and waits for nobody. The wait ends early when the batch is full, or when
// fullGroup ops are there.
func (l *logQueue) delay() time.Duration {
	cfg := &l.writer.cfg
	return min(time.Duration(l.groupSize-1)*cfg.DelayPerOp, max(cfg.MaxDelay, min(l.lastBatch, cfg.Linger)))
}

// fullGroup is how many ops of a group need not wait for the rest: nine tenths.
// Calls whose callers left the queue count, which makes a batch no later.
func (l *logQueue) fullGroup() int { return l.groupSize - l.groupSize/10 }

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

// failed reports whether to leave it at that, after answering the callers with
// what is known.
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
	var statusErr *events.StatusError
	return errors.Is(err, events.ErrLogForeign) || errors.Is(err, events.ErrLogFull) || errors.As(err, &statusErr)
}

// pause waits before the next attempt, longer each time, or until ctx ends.
func pause(ctx context.Context, attempt int) {
	d := min(minPause<<min(attempt, 10), maxPause)
	select {
	case <-ctx.Done():
	case <-time.After(d/2 + rand.N(d/2)):
	}
}
