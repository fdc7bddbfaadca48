package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// errRolledBack: the next term begins in a new incarnation of the buckets.
var errRolledBack = errors.New("the bus went back to an older copy of itself")

// beginAnew ends this incarnation of the buckets, all of them: agents stop what an
// assignment no longer names only if the lease that it was decided under is of
// the same incarnation as the one which named it. The lease comes first therefore; if
// the rest fails, the next leader finds it as this one did.
func (t *term) beginAnew(ctx context.Context, e cluster.RolledBack) error {
	if !t.lease.valid(time.Now()) {
		return errDeposed
	}
	t.log.Error("the bus went back to an older copy of itself; all its buckets begin a new life", events.KeyCause, e.Why)
	// Well within what the lease is left beyond our own validity, so that no other
	// leader begins in between.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.RenewEvery)
	defer cancel()
	why := events.Rollback{Noticed: time.Now().UTC(), Reason: e.Why}
	for _, b := range []Bucket{t.lease.bucket, t.assign, t.routes, t.desired} {
		if err := b.BeginAnew(ctx, why); err != nil {
			return fmt.Errorf("%w: %w", errRolledBack, err)
		}
	}
	return fmt.Errorf("%w: %s", errRolledBack, e.Why)
}
