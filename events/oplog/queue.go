package oplog

import (
	"context"
	"slices"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/notify"
)

// logQueue is the way to one log: ops wait in it for their batch, batches for
// their acknowledgement and then for their results.
type logQueue struct {
	writer *Writer
	id     events.LogID

	mu        sync.Mutex
	retired   bool // another queue has its place
	queue     []*call
	bytes     int           // of queue
	ops       int           // of queue and waiting
	sending   bool          // a goroutine appends until the queue is empty
	waiting   []*batch      // sent, results outstanding, in the order of the log
	notified  notify.Signal // the batch that is held may be due
	answered  time.Time     // when a batch was last answered
	groupSize int           // the ops that were there then, its own included
	lastBatch time.Duration // from its making to its answer
	down      time.Time     // since when the log took nothing; zero: it does
	why       error         // it took nothing
	lookingUp bool
	lookedUp  time.Time // when lookUp last began
}

// put queues a call. It reports false when the queue has retired.
func (l *logQueue) put(c *call) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cfg := &l.writer.cfg
	now := time.Now()
	switch {
	case l.retired:
		return false, nil
	case l.bytes+len(c.data) > cfg.QueueBytes && l.bytes > 0, l.ops >= cfg.QueueOps:
		return false, notSent(l.id, events.StatusErrorf(503, "too many writes wait for shard %s"+NotSentText, l.id.Shard).With(ErrNotSent))
	case l.sending && !l.down.IsZero() && now.Sub(l.down) > cfg.Patience:
		return false, notSent(l.id, l.why) // waiting would not help
	}
	c.queue, c.since = l, now
	l.queue = append(l.queue, c)
	l.bytes += len(c.data)
	l.ops++
	if l.bytes >= cfg.BatchBytes || len(l.queue) == l.fullGroup() {
		l.notified.Notify() // the batch that is held looks again whether it is due
	}
	if !l.sending && l.writer.start(l.send) {
		l.sending = true
	}
	if !l.sending {
		l.removeCalls(func(other *call) bool { return other == c })
		return false, notSent(l.id, errEnded)
	}
	return true, nil
}

// removeCalls takes calls out of the queue.
func (l *logQueue) removeCalls(out func(*call) bool) {
	before := len(l.queue)
	l.queue = slices.DeleteFunc(l.queue, func(c *call) bool {
		if !out(c) {
			return false
		}
		l.bytes -= len(c.data)
		c.data = nil
		return true
	})
	l.ops -= before - len(l.queue)
}

// abandon is the answer of a caller that waits no longer. The others of its
// batch are not affected.
func (l *logQueue) abandon(c *call, cause error) answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case a := <-c.done:
		return a
	default:
	}
	if c.batch != nil {
		return c.batch.unknown(c, cause)
	}
	// Its place in the queue goes later: there may be many who leave at once.
	c.gone = true
	l.bytes -= len(c.data)
	c.data = nil
	return answer{err: notAwaited(l.id, cause)}
}

// nextBatch makes the next batch of what waits, and registers it.
func (l *logQueue) nextBatch(ctx context.Context) (*batch, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeCalls(func(c *call) bool { return c.gone })
	n, size := 0, 0
	for n < len(l.queue) && n < shardlog.MaxBatchOps {
		if size += len(l.queue[n].data) + 1; n > 0 && size > l.writer.cfg.BatchBytes {
			break
		}
		n++
	}
	if n == 0 || ctx.Err() != nil {
		l.sending = false
		return nil, nil
	}
	b := &batch{queue: l, calls: slices.Clone(l.queue[:n]), made: time.Now()}
	l.writer.register(b)
	data := b.encode(l.writer.cfg.Writer)
	for i, c := range b.calls {
		l.bytes -= len(c.data)
		c.data, c.batch, c.index = nil, b, i
	}
	l.queue = slices.Delete(l.queue, 0, n)
	l.waiting = append(l.waiting, b)
	return b, data
}

// retire ends the queue if it has nothing to do, and reports whether it did.
func (l *logQueue) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	idle := !l.sending && !l.lookingUp && l.ops == 0
	l.retired = l.retired || idle && (l.down.IsZero() || time.Since(l.down) > l.writer.cfg.Resend)
	return l.retired
}

// end answers all who still wait, when nothing runs any more.
func (l *logQueue) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.queue {
		c.done <- answer{err: notSent(l.id, why)}
	}
	l.removeCalls(func(*call) bool { return true })
	for _, b := range slices.Clone(l.waiting) {
		l.settle(b, func(c *call) answer { return b.unknown(c, why) })
	}
}
