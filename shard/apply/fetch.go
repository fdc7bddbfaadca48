package apply

import (
	"context"
	"time"

	"ringway/events/shardlog"
)

// batchReader has a replica that is not the responder fetch its log in batches:
// most of the cost of a transaction is paid once for all its messages, and so is
// most of the cost of a message on its way.
type batchReader struct {
	responder func() bool
	delay     func() time.Duration
	flush     <-chan struct{} // ends a Wait at once
}

var _ shardlog.BatchReader = batchReader{}

// Fetch implements shardlog.BatchReader.
func (r batchReader) Fetch() bool { return !r.responder() }

// Wait implements shardlog.BatchReader. A reader that needs a newer state than there
// is here, or becoming the responder, ends it at once.
func (r batchReader) Wait(ctx context.Context) {
	delay := time.NewTimer(r.delay())
	defer delay.Stop()
	select {
	case <-ctx.Done():
	case <-r.flush:
	case <-delay.C:
	}
}
