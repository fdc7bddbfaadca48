package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// Position is how far a replica has applied its log. Batch tells one history
// from another that has the same length.
type Position struct {
	Incarnation string `json:"incarnation"` // id of the log; a log made anew has another
	Seq         uint64 `json:"seq"`
	Batch       string `json:"batch,omitempty"` // id of the batch at Seq; none at 0
}

func (p Position) String() string { return fmt.Sprintf("%s/%d (%s)", p.Incarnation, p.Seq, p.Batch) }

// LogEntry is one message of a log as it was stored.
type LogEntry struct {
	Seq   uint64
	Time  time.Time // the log's, the same for every replica
	Batch Batch
}

// ShardSpec is what has to be known of a shard to keep a replica of it.
type ShardSpec struct {
	Table  string `json:"table"`
	Schema Schema `json:"schema"`
	Shard  Shard  `json:"shard"`
}

// Validate names the first thing that cannot be.
func (r *ShardSpec) Validate() error {
	table := Table{Name: r.Table, Schema: r.Schema, Shards: []Shard{r.Shard}}
	return table.Validate()
}

// StateDigest stands for all that a replica holds at Position. Replicas of a
// shard at one position have equal digests, whatever engine keeps them.
type StateDigest struct {
	Position    Position `json:"position"`
	Rows        int64    `json:"rows"`
	Data        string   `json:"data"`        // SHA-256 of the rows
	Results     string   `json:"results"`     // of the results that are kept
	Idempotency string   `json:"idempotency"` // of the idempotency keys that are kept
}

// CopyHead begins a copy of a replica.
type CopyHead struct {
	Spec     ShardSpec `json:"spec"`
	Position Position  `json:"position"`
	Clock    time.Time `json:"clock"` // newest time of the log that the replica has seen
}

// CopyItem is one thing of a copy; exactly one field is set.
type CopyItem struct {
	Row         Row              `json:"row,omitempty"`
	Results     *KeptResults     `json:"results,omitempty"`
	Idempotency *KeptIdempotency `json:"idempotency,omitempty"`
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

// DecodeCopyHead reads the beginning of a copy.
func DecodeCopyHead(b []byte) (CopyHead, error) {
	var h CopyHead
	if err := json.Unmarshal(b, &h); err != nil {
		return CopyHead{}, fmt.Errorf("decode copy: %w", err)
	}
	if err := h.Spec.Validate(); err != nil {
		return CopyHead{}, fmt.Errorf("decode copy: %w", err)
	}
	if h.Position.Incarnation == "" {
		return CopyHead{}, fmt.Errorf("decode copy of %s: its position has no incarnation", h.Spec.Shard.ID)
	}
	return h, nil
}

// DecodeCopyItem reads one thing of a copy.
func DecodeCopyItem(b []byte) (CopyItem, error) {
	var c CopyItem
	if err := json.Unmarshal(b, &c); err != nil {
		return CopyItem{}, fmt.Errorf("decode copy: %w", err)
	}
	n := 0
	if len(c.Row) > 0 {
		n++
	}
	if k := c.Results; k != nil {
		if n++; validID(k.Results.Batch) != nil {
			return CopyItem{}, fmt.Errorf("decode copy: results without a batch")
		}
	}
	if k := c.Idempotency; k != nil {
		if n++; k.Validate() != nil || len(k.Op) > 2*MaxIDBytes {
			return CopyItem{}, fmt.Errorf("decode copy: an impossible idempotency key")
		}
	}
	if n != 1 {
		return CopyItem{}, fmt.Errorf("decode copy: %d things in one item", n)
	}
	return c, nil
}
