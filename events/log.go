package events

import (
	"errors"
	"fmt"
)

// Faults of a log. What is found wrong is reported; nobody makes a log anew.
var (
	// ErrLogMissing: there is no log of this shard.
	ErrLogMissing = errors.New("the log does not exist")
	// ErrLogForeign: the log has another history: another incarnation, another
	// batch at a known position, or it ends before that position.
	ErrLogForeign = errors.New("the log has another history")
	// ErrLogPurged: the log has no longer what follows a position.
	ErrLogPurged = errors.New("the log no longer has what comes next")
	// ErrLogFull: the log takes nothing more until it is purged.
	ErrLogFull = errors.New("the log is full")
)

// LogHole is what a log should still have and its disk lost, both ends included.
type LogHole struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

func (h *LogHole) Error() string {
	if h.From == h.To {
		return fmt.Sprintf("the log is damaged: seq %d cannot be read", h.From)
	}
	return fmt.Sprintf("the log is damaged: seq %d to %d cannot be read", h.From, h.To)
}

// LogID names one life of a shard's log.
type LogID struct {
	Table       string `json:"table"`
	Shard       string `json:"shard"`
	Incarnation string `json:"incarnation"`
}

func (id LogID) String() string { return id.Table + "." + id.Shard + "/" + id.Incarnation }

// Validate names the first thing that cannot be.
func (id LogID) Validate() error {
	if err := ValidIdentifier(id.Table); err != nil {
		return fmt.Errorf("log: table: %w", err)
	}
	if err := ValidIdentifier(id.Shard); err != nil {
		return fmt.Errorf("log: shard: %w", err)
	}
	if err := ValidID(id.Incarnation); err != nil {
		return fmt.Errorf("log: incarnation: %w", err)
	}
	return nil
}

// Position is how far a replica has applied its log. Batch distinguishes one
// history from another that has the same length.
type Position struct {
	Incarnation string `json:"incarnation"` // id of the log; a log made anew has another
	Seq         uint64 `json:"seq"`
	Batch       string `json:"batch,omitempty"` // id of the batch at Seq; none at 0
}

func (p Position) String() string { return fmt.Sprintf("%s/%d (%s)", p.Incarnation, p.Seq, p.Batch) }
