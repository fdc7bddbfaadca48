package apply

import (
	"context"
	"time"

	"ringway/events/shardlog"
)

// batchReader has a replica that is not the responder fetch its log in batches:
// most of the cost of a transaction is paid once for all its messages, and so is
// most of the cost of a message on its way.
type batchReader struct{ *Applier }

var _ shardlog.BatchReader = batchReader{}

// Fetch implements shardlog.BatchReader.
func (r batchReader) Fetch() bool { return !r.isResponder() }

// Wait implements shardlog.BatchReader. A reader that needs a newer state than there
// is here, or becoming the responder, ends it at once.
func (r batchReader) Wait(ctx context.Context) {
	delay := time.NewTimer(r.cfg.delay(r.last.Load()))
	defer delay.Stop()
	select {
	case <-ctx.Done():
	case <-r.flush:
	case <-delay.C:
	}
}

// delay is how long a replica that is not the responder waits, after the first
// message of a fetch batch is there, before it fetches and applies what has come:
//
//	max(Delay, min(ops of the last transaction * DelayPerOp, MaxDelay))
//
// It is the group commit delay of a follower, like commit_delay of PostgreSQL or
// linger.ms of Kafka. A transaction has a fixed cost (round trips, moving the
// position, a flush of the redo log) and so has a fetch; with the delay they are paid
// once for all that comes meanwhile, which leaves the machine to the responder. No
// writer notices it, because the responder answers without delay. While little is
// written, the delay is short and the replica is at most Delay behind. Many ops in the
// last transaction show that writes come fast; then a longer delay gathers more of
// them, and MaxDelay bounds how far the replica falls behind.
func (c *Config) delay(ops int64) time.Duration {
	return max(c.Delay, min(time.Duration(ops)*c.DelayPerOp, c.MaxDelay))
}
