package oplog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ringway/events"
)

// Result is what became of an op.
type Result struct {
	events.Result
	OpID string
	Seq  uint64 // of its batch in the log
}

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

// call is one Do. Its fields belong to its lane's lock, after put.
type call struct {
	data  []byte // the op as JSON; nil once it is in a batch
	done  chan answer
	lane  *lane
	since time.Time
	gone  bool   // nobody waits any more
	batch *batch // nil: it waits for one
	index int    // in the batch
}

type answer struct {
	result Result
	err    error
}

func newCall(op *events.Op) (*call, error) {
	if err := op.WellFormed(); err != nil {
		return nil, err
	}
	data := op.Append(make([]byte, 0, 256)) // many are of one short row
	if len(data) > events.MaxOpBytes {
		return nil, events.Refuse(413, "%d bytes for one shard are too many in one request; at most %d", len(data), events.MaxOpBytes)
	}
	return &call{data: data, done: make(chan answer, 1)}, nil
}

// batch is some calls on their way. What changes belongs to its lane's lock.
type batch struct {
	lane     *lane
	id       string
	calls    []*call
	cut      context.CancelFunc // ends the append that runs
	sent     time.Time          // for the first time, perhaps; zero: surely not
	seq      uint64             // 0: not acknowledged
	stored   time.Time          // when it was acknowledged
	resolved bool               // its calls have their answers
}

// encode is the JSON of events.Batch, made of ops that are JSON already.
func (b *batch) encode(writer string) []byte {
	size := 100 + 2*events.MaxIdentifierBytes + len(b.id) + 6*len(writer)
	for _, c := range b.calls {
		size += len(c.data) + 1
	}
	out := make([]byte, 0, size)
	field := func(before, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic("BUG: a string is no JSON: " + err.Error())
		}
		out = append(append(out, before...), quoted...)
	}
	field(`{"id":`, b.id)
	field(`,"writer":`, writer)
	field(`,"table":`, b.lane.id.Table)
	field(`,"shard":`, b.lane.id.Shard)
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
	return answer{err: &Unknown{OpID: events.OpID(b.id, c.index), Seq: b.seq, Cause: cause}}
}

// notSent says for people why an op is in no log, and keeps the cause for
// errors.Is.
func notSent(id events.LogID, cause error) error {
	var refusal *events.Refusal
	if errors.As(cause, &refusal) {
		return fmt.Errorf("write to %s: %w", id, cause)
	}
	away := events.Refuse(503, "the log of shard %s takes no writes now; nothing was written", id.Shard)
	if errors.Is(cause, events.ErrUnknownOutcome) { // of the batch before, not of this op
		return fmt.Errorf("write to %s: %w: waiting for an earlier batch: %v", id, away, cause) //nolint:errorlint // on purpose
	}
	return fmt.Errorf("write to %s: %w: %w", id, away, cause)
}
