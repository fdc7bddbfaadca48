package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/shard/storage"
)

// copier fills a replica with a copy of another server's, and replaces one by
// such a copy. One goroutine uses it.
type copier struct {
	host        *Host
	log         *slog.Logger
	status      *status
	quarantined events.Position // of what was quarantined last
}

// fill copies the replica of a donor into the engine.
func (c *copier) fill(ctx context.Context, engine storage.Engine, t *Target) error {
	if err := c.host.fills.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.host.fills.Release(1)
	return c.fillNow(ctx, engine, t)
}

// replace erases the replica once a donor has shown that it has a better one,
// and quarantines it before if it is of another history. Both may take long, so
// no donor holds a copy open meanwhile; but the replica keeps what it has until
// it may be filled.
func (c *copier) replace(ctx context.Context, engine storage.Engine, t *Target, at *events.Position, foreign bool) error {
	if err := c.host.fills.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.host.fills.Release(1)
	if foreign && c.quarantined != *at {
		if err := c.findBetter(ctx, t, at); err != nil {
			return err
		}
		if err := c.quarantine(ctx, engine, t.key(), at); err != nil {
			return err
		}
		c.quarantined = *at
	}
	// What the applier found may be old.
	_, err := compareWithLog(ctx, c.host.Logs(t.LogID()), *at)
	switch {
	case err == nil && at.Incarnation == t.Log.Incarnation:
		c.log.Info("replica and log agree after all", "at", at.String())
		return nil
	case err != nil && !errors.Is(err, events.ErrLogForeign) && !errors.Is(err, events.ErrLogPurged) && !isDamage(err):
		return err
	}
	if err := c.findBetter(ctx, t, at); err != nil {
		return err
	}
	c.log.Warn("replica is erased", "at", at.String())
	if err := engine.Drop(ctx, t.Spec.Table, t.Spec.Shard.ID); err != nil {
		return err
	}
	if err := c.fillNow(ctx, engine, t); err != nil { // the next step fills what is empty
		c.log.Warn("copying failed", events.KeyError, err)
	}
	return nil
}

func (c *copier) quarantine(ctx context.Context, engine storage.Engine, key Key, at *events.Position) error {
	dir := c.host.cfg.Quarantine
	if dir == "" {
		return nil
	}
	file, items, err := quarantine(ctx, dir, engine, key, at)
	if err == nil {
		c.log.Warn("replica is set aside", "at", at.String(), "file", file, "items", items)
	}
	return err
}

// fillNow needs the semaphore.
func (c *copier) fillNow(ctx context.Context, engine storage.Engine, t *Target) error {
	return c.fromAny(ctx, t, func(from peer) error { return c.copyFrom(ctx, engine, t, from) })
}

func (c *copier) findBetter(ctx context.Context, t *Target, at *events.Position) error {
	return c.fromAny(ctx, t, func(from peer) error {
		in, head, err := c.begin(ctx, t, from, at)
		if err != nil {
			return err
		}
		in.close()
		c.log.Warn("a donor has better than what is here", "at", at.String(), "donor", from.server, "donor_at", head.Position.String())
		return nil
	})
}

// fromAny tries donors until one will do.
func (c *copier) fromAny(ctx context.Context, t *Target, do func(from peer) error) error {
	var errs []error
	for _, i := range rand.Perm(len(t.donors)) {
		err := do(t.donors[i])
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("copy from %s: %w", t.donors[i].server, err))
	}
	return errors.Join(errs...)
}

func (c *copier) copyFrom(ctx context.Context, engine storage.Engine, t *Target, from peer) error {
	began := time.Now()
	in, head, err := c.begin(ctx, t, from, nil)
	if err != nil {
		return err
	}
	defer in.close()
	c.status.setPosition(&head.Position)
	c.status.set(events.ReplicaCopying, "from "+from.server)
	restore, err := engine.Restore(ctx, *head)
	if err != nil {
		return err
	}
	rows, err := restoreItems(ctx, in, restore, head.Position.Seq)
	if err != nil {
		return err
	}
	if err := restore.Finish(ctx); err != nil {
		return err
	}
	c.log.Info("replica is copied", "donor", from.server, "at", head.Position.String(), "items", rows, "took", time.Since(began))
	return nil
}

// begin has a donor send a copy that is better than what is here, at a position;
// nil: nothing is here.
func (c *copier) begin(ctx context.Context, t *Target, from peer, at *events.Position) (*copyStream, *shardapi.CopyHead, error) {
	in, err := requestCopy(ctx, c.host.http, c.host.cfg.Stalled, t, from)
	if err != nil {
		return nil, nil, err
	}
	line, err := in.next()
	var head shardapi.CopyHead
	if err == nil {
		head, err = shardapi.DecodeCopyHead(line)
	}
	if err == nil {
		err = c.check(ctx, t, &head, at)
	}
	if err != nil {
		in.close()
		return nil, nil, err
	}
	return in, &head, nil
}

// check refuses a copy that would be no gain.
func (c *copier) check(ctx context.Context, t *Target, head *shardapi.CopyHead, at *events.Position) error {
	switch {
	case head.Position.Incarnation != t.Log.Incarnation:
		return fmt.Errorf("it is at %s, of another log", head.Position)
	case head.Spec.Table != t.Spec.Table || head.Spec.Shard != t.Spec.Shard || !head.Spec.Schema.Equal(&t.Spec.Schema):
		return errors.New("it is of another shard")
	case at != nil && at.Incarnation == head.Position.Incarnation && at.Batch == head.Position.Batch && at.Seq >= head.Position.Seq:
		return fmt.Errorf("it is no further than %s", at)
	}
	_, err := compareWithLog(ctx, c.host.Logs(t.LogID()), head.Position)
	return err
}
