package shardlog

import (
	"fmt"
	"slices"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
)

// Outcome is what became of an op, alike on every replica.
type Outcome string

// Outcomes.
const (
	Done      Outcome = "done"
	Duplicate Outcome = "duplicate" // insert: keys are there already; no row went in
	Missing   Outcome = "missing"   // update, delete: the key is not there
	Mismatch  Outcome = "mismatch"  // idempotency key used with another body
	Invalid   Outcome = "invalid"   // does not fit the table; a correct writer does not send it
)

// MaxListedKeys bounds the keys that a result lists; Count has them all.
const MaxListedKeys = 100

// Result is what became of one op that is listed: any outcome but Done, or
// the first outcome again of a repeated idempotency key.
type Result struct {
	Op      int     `json:"op"` // index in the batch
	Outcome Outcome `json:"outcome"`
	Keys    []int64 `json:"keys,omitempty"`  // the duplicate or missing ones, in the order of the op
	Count   int     `json:"count,omitempty"` // how many those are in all
	Of      string  `json:"of,omitempty"`    // id of the op that used the idempotency key first, whose outcome this is
	Detail  string  `json:"detail,omitempty"`
}

// Results is what became of a batch. Ops without a Result are done.
type Results struct {
	Batch   string   `json:"batch"`
	Table   string   `json:"table"`
	Shard   string   `json:"shard"`
	Seq     uint64   `json:"seq"` // where the batch lies in the log; of a repeated batch, where it was first
	Ops     int      `json:"ops"`
	Notable []Result `json:"results,omitempty"` // in the order of Op
}

// Op is what became of op i.
func (r *Results) Op(i int) Result {
	at, found := slices.BinarySearchFunc(r.Notable, i, func(n Result, i int) int { return n.Op - i })
	if found {
		return r.Notable[at]
	}
	return Result{Op: i, Outcome: Done}
}

// KeptResults is what a replica remembers of a batch, for ResultsKept.
type KeptResults struct {
	At      time.Time `json:"at"`
	Results Results   `json:"results"`
}

// KeptIdempotency is what a replica remembers of an idempotency key, for
// IdempotencyKept.
type KeptIdempotency struct {
	Idempotency
	At    time.Time `json:"at"`
	Op    string    `json:"op_id"` // that used it first
	First Result    `json:"first"`
}

// DecodeResults reads what an applier publishes, and what a replica kept.
func DecodeResults(b []byte) (Results, error) {
	r, err := unmarshalResults(b)
	if err != nil {
		return Results{}, fmt.Errorf("decode results: %w", err)
	}
	if err := events.ValidID(r.Batch); err != nil {
		return Results{}, fmt.Errorf("decode results: batch: %w", err)
	}
	if r.Ops < 0 || r.Ops > MaxBatchOps {
		return Results{}, fmt.Errorf("decode results of %s: %d ops", r.Batch, r.Ops)
	}
	last := -1
	for _, n := range r.Notable {
		if n.Op <= last || n.Op >= r.Ops {
			return Results{}, fmt.Errorf("decode results of %s: op %d of %d is out of order", r.Batch, n.Op, r.Ops)
		}
		if !slices.Contains([]Outcome{Done, Duplicate, Missing, Mismatch, Invalid}, n.Outcome) {
			return Results{}, fmt.Errorf("decode results of %s: outcome %q is unknown", r.Batch, rowjson.Shorten(string(n.Outcome)))
		}
		last = n.Op
	}
	return r, nil
}
