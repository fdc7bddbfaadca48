package state

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// ErrGap: entries do not follow the position, or one another.
var ErrGap = errors.New("a gap in the log")

// Needs is what has to be known of a replica's state to settle entries.
type Needs struct {
	Keys        []int64  // sorted
	Batches     []string // sorted
	Idempotency []string // sorted
}

// Need says what has to be known to settle entries.
func Need(entries []shardlog.Entry) Needs {
	var n Needs
	for i := range entries {
		n.Batches = append(n.Batches, entries[i].Batch.ID)
		for j := range entries[i].Batch.Ops {
			op := &entries[i].Batch.Ops[j]
			for _, row := range op.Rows {
				n.Keys = append(n.Keys, row.Key())
			}
			if op.Key != nil {
				n.Keys = append(n.Keys, *op.Key)
			}
			if op.Idempotency != nil {
				n.Idempotency = append(n.Idempotency, op.Idempotency.Key)
			}
		}
	}
	return Needs{Keys: set(n.Keys), Batches: set(n.Batches), Idempotency: set(n.Idempotency)}
}

// set is all of list once, sorted, in its memory.
func set[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// Before is the part of a replica's state that Need asked for.
type Before struct {
	Position    events.Position
	Clock       time.Time
	Keys        map[int64]bool
	Results     map[string]shardlog.KeptResults
	Idempotency map[string]shardlog.KeptIdempotency
}

// Change is what a transaction has to do, in no order: every key is in one
// list at most, and each list is sorted.
type Change struct {
	Position    events.Position
	Clock       time.Time
	Insert      []rowjson.Row // not there before
	Update      []rowjson.Row // there before
	Delete      []int64       // there before
	Forget      []string      // batches whose results are out of date and in the way
	Results     []shardlog.KeptResults
	Idempotency []shardlog.KeptIdempotency // new, or in place of one out of date

	Answers []shardlog.Results // one for each entry
}

// Settle decides what becomes of entries.
func Settle(spec *events.ShardSpec, before *Before, entries []shardlog.Entry) (Change, error) {
	rows := rowsOf(entries)
	s := settling{
		spec: spec, before: before, rows: make(map[int64]*rowState, rows), states: make([]rowState, 0, rows),
		results: make(map[string]shardlog.KeptResults, len(entries)), idempotency: map[string]shardlog.KeptIdempotency{},
	}
	s.change = Change{Position: before.Position, Clock: before.Clock, Answers: make([]shardlog.Results, 0, len(entries))}
	for i := range entries {
		if err := s.entry(&entries[i]); err != nil {
			return Change{}, err
		}
	}
	return s.done(), nil
}

// rowsOf is how many rows entries have.
func rowsOf(entries []shardlog.Entry) (n int) {
	for i := range entries {
		for j := range entries[i].Batch.Ops {
			n += len(entries[i].Batch.Ops[j].Rows)
		}
	}
	return n
}

type settling struct {
	spec        *events.ShardSpec
	before      *Before
	change      Change
	rows        map[int64]*rowState
	states      []rowState // for what rows points to
	results     map[string]shardlog.KeptResults
	idempotency map[string]shardlog.KeptIdempotency
}

// rowState is one key: was it there, and what is there now.
type rowState struct {
	was, is, touched bool
	row              rowjson.Row
}

func (s *settling) entry(e *shardlog.Entry) error {
	c := &s.change
	if e.Seq != c.Position.Seq+1 {
		return fmt.Errorf("seq %d after %d: %w", e.Seq, c.Position.Seq, ErrGap)
	}
	c.Position.Seq, c.Position.Batch = e.Seq, e.Batch.ID
	c.Clock = advance(c.Clock, e.Time)
	kept, found := s.results[e.Batch.ID]
	if !found {
		kept, found = s.before.Results[e.Batch.ID]
	}
	if found && live(kept.At, c.Clock, shardlog.ResultsKept) {
		c.Answers = append(c.Answers, kept.Results)
		return nil // a repeated batch
	}
	if _, inTheWay := s.before.Results[e.Batch.ID]; inTheWay {
		c.Forget = append(c.Forget, e.Batch.ID)
	}
	r := shardlog.Results{Batch: e.Batch.ID, Table: s.spec.Table, Shard: s.spec.Shard.ID, Seq: e.Seq, Ops: len(e.Batch.Ops)}
	for i := range e.Batch.Ops {
		result := s.op(&e.Batch, i)
		result.Op = i
		if result.Outcome != shardlog.Done || result.Of != "" {
			r.Notable = append(r.Notable, result)
		}
	}
	s.results[e.Batch.ID] = shardlog.KeptResults{At: c.Clock, Results: r}
	c.Answers = append(c.Answers, r)
	return nil
}

// ClockAfter is the clock after entries.
func ClockAfter(clock time.Time, entries []shardlog.Entry) time.Time {
	for i := range entries {
		clock = advance(clock, entries[i].Time)
	}
	return clock
}

// advance is the clock after an entry. A log's clock may step back; ours may not,
// or replicas would disagree on what is out of date.
func advance(clock, at time.Time) time.Time {
	if at = at.Round(0).UTC(); at.After(clock) {
		return at
	}
	return clock
}

// live reports whether what was kept at some time still counts.
func live(at, now time.Time, kept time.Duration) bool { return now.Sub(at) < kept }

func (s *settling) op(b *shardlog.Batch, i int) shardlog.Result {
	op := &b.Ops[i]
	if b.Table != s.spec.Table || b.Shard != s.spec.Shard.ID {
		return shardlog.Result{Outcome: shardlog.Invalid, Detail: "this is the log of " + s.spec.Table + " " + s.spec.Shard.ID}
	}
	err := op.Validate(&s.spec.Schema, s.spec.Shard)
	twice := errors.Is(err, shardlog.ErrRepeatedKey)
	if err != nil && !twice {
		return shardlog.Result{Outcome: shardlog.Invalid, Detail: err.Error()}
	}
	if op.Idempotency == nil {
		return s.do(op, twice)
	}
	first, found := s.idempotency[op.Idempotency.Key]
	if !found {
		first, found = s.before.Idempotency[op.Idempotency.Key]
	}
	if found && live(first.At, s.change.Clock, shardlog.IdempotencyKept) {
		if first.Body != op.Idempotency.Body {
			return shardlog.Result{Outcome: shardlog.Mismatch, Of: first.Op}
		}
		again := first.First
		again.Of = first.Op
		return again
	}
	result := s.do(op, twice)
	s.idempotency[op.Idempotency.Key] = shardlog.KeptIdempotency{
		Idempotency: *op.Idempotency, At: s.change.Clock, Op: shardlog.OpID(b.ID, i), First: result,
	}
	return result
}

// do changes rows, all that the op asks for or none.
func (s *settling) do(op *shardlog.Op, twice bool) shardlog.Result {
	switch op.Kind {
	case shardlog.OpInsert:
		var there []int64
		var seen map[int64]bool
		if twice {
			seen = make(map[int64]bool, len(op.Rows))
		}
		for _, row := range op.Rows {
			key := row.Key()
			if s.row(key).is || seen[key] {
				there = append(there, key)
			}
			if twice {
				seen[key] = true
			}
		}
		if len(there) > 0 {
			return unmet(shardlog.Duplicate, there)
		}
		for _, row := range op.Rows {
			s.row(row.Key()).set(row)
		}
	case shardlog.OpUpdate:
		r := s.row(op.Rows[0].Key())
		if !r.is {
			return unmet(shardlog.Missing, []int64{op.Rows[0].Key()})
		}
		r.set(op.Rows[0])
	case shardlog.OpDelete:
		r := s.row(*op.Key)
		if !r.is {
			return unmet(shardlog.Missing, []int64{*op.Key})
		}
		r.is, r.row, r.touched = false, nil, true
	}
	return shardlog.Result{Outcome: shardlog.Done}
}

func unmet(o shardlog.Outcome, keys []int64) shardlog.Result {
	return shardlog.Result{Outcome: o, Keys: keys[:min(len(keys), shardlog.MaxListedKeys)], Count: len(keys)}
}

func (s *settling) row(key int64) *rowState {
	r := s.rows[key]
	if r == nil {
		there := s.before.Keys[key]
		if len(s.states) == cap(s.states) { // keys of no rows
			s.states = make([]rowState, 0, 16)
		}
		s.states = append(s.states, rowState{was: there, is: there})
		r = &s.states[len(s.states)-1]
		s.rows[key] = r
	}
	return r
}

func (r *rowState) set(row rowjson.Row) { r.is, r.row, r.touched = true, row, true }

func (s *settling) done() Change {
	c := s.change
	for _, key := range slices.Sorted(maps.Keys(s.rows)) {
		switch r := s.rows[key]; {
		case !r.touched:
		case r.is && r.was:
			c.Update = append(c.Update, r.row)
		case r.is:
			c.Insert = append(c.Insert, r.row)
		case r.was:
			c.Delete = append(c.Delete, key)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.results)) {
		c.Results = append(c.Results, s.results[id])
	}
	for _, key := range slices.Sorted(maps.Keys(s.idempotency)) {
		c.Idempotency = append(c.Idempotency, s.idempotency[key])
	}
	slices.Sort(c.Forget)
	c.Forget = slices.Compact(c.Forget)
	return c
}

// Copy adds one thing of a copy to a change.
func (c *Change) Copy(spec *events.ShardSpec, item *shardapi.CopyItem) error {
	switch {
	case item.Results != nil:
		c.Results = append(c.Results, *item.Results)
	case item.Idempotency != nil:
		c.Idempotency = append(c.Idempotency, *item.Idempotency)
	default:
		if err := spec.Schema.Check(item.Row); err != nil {
			return err
		}
		if key := item.Row.Key(); !spec.Shard.Holds(key) {
			return fmt.Errorf("row %d is of another shard", key)
		}
		c.Insert = append(c.Insert, item.Row)
	}
	return nil
}
