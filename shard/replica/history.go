package replica

import (
	"context"
	"errors"
	"fmt"

	"ringway/events"
	"ringway/events/shardlog"
)

// compareWithLog returns the last seq of a log, after it has made sure, as far as
// can be seen, that the log and a replica at a position are of one history.
//
// A log can be replaced behind our back: its bus was restored from an older copy,
// or wiped, and the log begins again or goes on from an earlier seq. Its seqs then
// count other batches than those that the replica has applied, and to go on would
// mix two histories without anybody noticing. The name of the log and its seqs do
// not show this, but the ids of batches do: a replica keeps the id of the last
// batch that it applied, in the same transaction as the seq. So the replica belongs
// to the log if the log still has a batch of that id at that seq. A log that ends
// before the position, or has another batch there, is another history
// (ErrLogForeign). A log that begins after the position has been purged beyond it
// (ErrLogPurged): nothing is known to be wrong, but batches are missing between.
// If exactly the batch at the position is purged, there is nothing to compare
// with, and the log is trusted. A log that lost the batch after the position is no
// continuation of it either (LogHole).
func compareWithLog(ctx context.Context, log Log, at events.Position) (last uint64, err error) {
	s, err := log.State(ctx)
	switch {
	case err != nil:
		return 0, err
	case at.Seq > s.Last:
		return 0, fmt.Errorf("%w: it ends at %d, before %s", events.ErrLogForeign, s.Last, at)
	case at.Seq+1 < s.First:
		return 0, fmt.Errorf("%w: it begins at %d, beyond %s", events.ErrLogPurged, s.First, at)
	case at.Seq < s.First:
		return s.Last, lost(ctx, log, at.Seq+1)
	}
	_, data, err := log.Get(ctx, at.Seq)
	switch {
	case errors.Is(err, events.ErrNotFound): // purged a moment ago, or lost
	case err != nil:
		return 0, err
	default:
		if b, err := shardlog.DecodeBatch(data); err != nil || b.ID != at.Batch {
			return 0, fmt.Errorf("%w: it has %q at %s", events.ErrLogForeign, b.ID, at)
		}
	}
	return s.Last, lost(ctx, log, at.Seq+1)
}

// lost is the hole that begins at a seq, if one does.
func lost(ctx context.Context, log Log, seq uint64) error {
	hole, err := log.Hole(ctx, seq)
	if err == nil && hole != nil {
		return hole
	}
	return err
}
