package oplog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// Result is what became of an op.
type Result struct {
	shardlog.Result
	Batch string // its id
	Seq   uint64 // of the batch in the log
}

// OpID names the op, for clients that ask later.
func (r *Result) OpID() string { return shardlog.OpID(r.Batch, r.Op) }

// Unknown is an op that was sent and whose outcome is not known. It wraps
// events.ErrUnknownOutcome and its cause.
type Unknown struct {
	OpID  string // by which a client can ask later
	Seq   uint64 // where it lies in the log and will be applied; 0: it may not be there
	Cause error
}

func (u *Unknown) Error() string {
	if u.Seq > 0 {
		return fmt.Sprintf("op %s is in the log at %d, its outcome is unknown: %s", u.OpID, u.Seq, u.Cause)
	}
	return fmt.Sprintf("op %s: outcome unknown: %s", u.OpID, u.Cause)
}

// Unwrap makes errors.Is find both.
func (u *Unknown) Unwrap() []error { return []error{events.ErrUnknownOutcome, u.Cause} }

// call is one Do. The lock of its queue guards its fields, after put.
type call struct {
	data  []byte // the op as JSON; nil once it is in a batch
	done  chan answer
	queue *logQueue
	since time.Time
	limit time.Duration // how long its Do waits; 0: until its context ends
	gone  bool          // nobody waits any more
	batch *batch        // nil: it waits for one
	index int           // in the batch
	space []byte        // to make data in
}

type answer struct {
	result Result
	err    error
}

const maxSpace = 4 << 10 // of a call that is kept

func (w *Writer) newCall(op *shardlog.Op, limit time.Duration) (*call, error) {
	if err := op.WellFormed(); err != nil {
		return nil, err
	}
	c, ok := w.calls.Get().(*call)
	if !ok {
		c = &call{done: make(chan answer, 1), space: make([]byte, 0, 256)} // many are of one short row
	}
	data := op.Append(c.space[:0])
	if len(data) > shardlog.MaxOpBytes {
		return nil, events.StatusErrorf(413, "%d bytes for one shard are too many in one request; at most %d", len(data), shardlog.MaxOpBytes)
	}
	space := c.space
	if cap(data) <= maxSpace {
		space = data
	}
	*c = call{data: data, done: c.done, limit: limit, space: space}
	return c, nil
}

// finish is the end of a Do that got its answer. A batch with results looks at
// its calls no more; whoever answers with an error may.
func (c *call) finish(a answer) (Result, error) {
	if a.err == nil {
		c.queue.writer.calls.Put(c)
	}
	return a.result, a.err
}

// batch is some calls on their way. The lock of its queue guards what changes.
type batch struct {
	queue    *logQueue
	id       string
	calls    []*call
	made     time.Time
	cut      context.CancelFunc // ends the append that runs
	sent     time.Time          // for the first time, perhaps; zero: surely not
	seq      uint64             // 0: not acknowledged
	stored   time.Time          // when it was acknowledged
	resolved bool               // its calls have their answers
}

// encode is the JSON of shardlog.Batch, made of ops that are JSON already.
func (b *batch) encode(writer string) []byte {
	size := 100 + 2*events.MaxIdentifierBytes + len(b.id) + 6*len(writer)
	for _, c := range b.calls {
		size += len(c.data) + 1
	}
	out := make([]byte, 0, size)
	field := func(before, text string) { out = rowjson.AppendText(append(out, before...), text) }
	field(`{"id":`, b.id)
	field(`,"writer":`, writer)
	field(`,"table":`, b.queue.id.Table)
	field(`,"shard":`, b.queue.id.Shard)
	out = append(out, `,"ops":[`...)
	for i, c := range b.calls {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, c.data...)
	}
	return append(out, "]}"...)
}

// unknown answers call c of a batch that was sent.
func (b *batch) unknown(c *call, cause error) answer {
	return answer{err: &Unknown{OpID: shardlog.OpID(b.id, c.index), Seq: b.seq, Cause: cause}}
}

// over reports whether a Do waits no longer.
func (c *call) over(now time.Time) bool { return c.limit > 0 && now.Sub(c.since) >= c.limit }

// notAwaited is the error of an op that nobody waits for any more and that is in no
// batch.
func notAwaited(id events.LogID, cause error) error {
	return fmt.Errorf("write to %s: nothing was written: %w", id, cause)
}

// ErrNotSent is of an op that is in no log and never will be. What people read
// of it ends with NotSentText.
var ErrNotSent = errors.New("the op was not sent")

// NotSentText ends the message of an ErrNotSent.
const NotSentText = "; nothing was written"

// notSent explains to people why an op is in no log, and keeps the cause for
// errors.Is.
func notSent(id events.LogID, cause error) error {
	var statusErr *events.StatusError
	if errors.As(cause, &statusErr) {
		return fmt.Errorf("write to %s: %w", id, cause)
	}
	away := events.StatusErrorf(503, "the log of shard %s takes no writes now"+NotSentText, id.Shard).With(ErrNotSent)
	if errors.Is(cause, events.ErrUnknownOutcome) { // of the batch before, not of this op
		return fmt.Errorf("write to %s: %w: waiting for an earlier batch: %v", id, away, cause) //nolint:errorlint // on purpose
	}
	return fmt.Errorf("write to %s: %w: %w", id, away, cause)
}
