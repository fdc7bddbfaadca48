package shardapi

import (
	"encoding/json"
	"fmt"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// CopyHead begins a copy of a replica.
type CopyHead struct {
	Spec     events.ShardSpec `json:"spec"`
	Position events.Position  `json:"position"`
	Clock    time.Time        `json:"clock"` // newest time of the log that the replica has seen
}

// CopyItem is one thing of a copy; exactly one field is set.
type CopyItem struct {
	Row         rowjson.Row               `json:"row,omitempty"`
	Results     *shardlog.KeptResults     `json:"results,omitempty"`
	Idempotency *shardlog.KeptIdempotency `json:"idempotency,omitempty"`
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
		if n++; events.ValidID(k.Results.Batch) != nil {
			return CopyItem{}, fmt.Errorf("decode copy: results without a batch")
		}
	}
	if k := c.Idempotency; k != nil {
		if n++; k.Validate() != nil || len(k.Op) > 2*events.MaxIDBytes {
			return CopyItem{}, fmt.Errorf("decode copy: an impossible idempotency key")
		}
	}
	if n != 1 {
		return CopyItem{}, fmt.Errorf("decode copy: %d things in one item", n)
	}
	return c, nil
}
