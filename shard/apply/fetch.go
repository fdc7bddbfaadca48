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

// Wait implements shardlog.BatchReader.
//
// The delay is DelayPerOp times the number of ops of the last transaction, but
// at least Delay and at most MaxDelay. A transaction that was large took long,
// and meanwhile much has come: then it pays to wait for more of it. Nobody
// notices the delay, because the responder answers the writers; a reader that
// needs a newer state than there is here ends it at once.
func (r batchReader) Wait(ctx context.Context) {
	cfg := &r.cfg
	delay := time.NewTimer(max(cfg.Delay, min(time.Duration(r.last.Load())*cfg.DelayPerOp, cfg.MaxDelay)))
	defer delay.Stop()
	select {
	case <-ctx.Done():
	case <-r.flush:
	case <-delay.C:
	}
}
