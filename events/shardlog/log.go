package shardlog

import (
	"context"
	"time"
)

// LogDedup is how long a log knows a batch again by its id, at least. A writer
// that does not know whether its batch is stored sends it again for less than
// this; appliers drop a repeated batch all the same.
const LogDedup = 90 * time.Second

// BatchReader has the reader of a log fetch messages many at a time, rather than be
// sent each as it is stored. A message costs the bus and its reader as much for
// its way as for what is in it.
type BatchReader interface {
	// Fetch reports whether it shall, from now on.
	Fetch() bool
	// Wait returns when the next fetch batch is due; one message of it is there.
	Wait(ctx context.Context)
}

// LogState is what a log holds: First to Last, both included; an empty log has
// Last = First-1.
type LogState struct {
	Incarnation string `json:"incarnation"`
	First       uint64 `json:"first_seq"` // at least 1
	Last        uint64 `json:"last_seq"`
	Bytes       uint64 `json:"bytes"`
}
