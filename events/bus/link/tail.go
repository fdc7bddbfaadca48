package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// A consumer that is silent for two heartbeats is opened again.
	TailHeartbeat = time.Second
	tailExpiry    = 10 * time.Second
	tailBatch     = 64
	// The bus forgets a consumer whose reader is gone after this.
	tailIdle = 10 * time.Second
)

// ErrGap means that a message of a consumer got lost on its way.
var ErrGap = errors.New("a message is missing")

// Tail reads a stream through a consumer of its own, in order and without
// gaps, until something odd happens: a lost connection, a missing heartbeat, a
// consumer that is gone. Its callers open it again from where they were. It
// calls current once, when all that was there at the start was passed to each.
func (c *Conn) Tail(ctx context.Context, handle jetstream.Stream, cfg jetstream.ConsumerConfig, each func(jetstream.Msg, *jetstream.MsgMetadata) error, current func() error) error {
	return c.TailAhead(ctx, jetstream.PullMaxMessages(tailBatch), handle, cfg, each, current)
}

// TailAhead is Tail with a bound of its own on what the bus sends ahead.
func (c *Conn) TailAhead(ctx context.Context, ahead jetstream.PullMessagesOpt, handle jetstream.Stream, cfg jetstream.ConsumerConfig, each func(jetstream.Msg, *jetstream.MsgMetadata) error, current func() error) error {
	consumer, err := c.Consumer(ctx, handle, cfg)
	if err != nil {
		return err
	}
	defer c.Discard(ctx, handle, consumer)
	left := consumer.CachedInfo().NumPending
	if left == 0 {
		if err := current(); err != nil {
			return err
		}
	}
	msgs, err := consumer.Messages(ahead, jetstream.PullExpiry(tailExpiry), jetstream.PullHeartbeat(TailHeartbeat))
	if err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	defer msgs.Stop()
	for expected := uint64(1); ; expected++ {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read consumer: %w", Explained(ctx, err))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read consumer: %w", err)
		}
		if meta.Sequence.Consumer != expected {
			return ErrGap
		}
		if err := each(m, meta); err != nil {
			return err
		}
		if left == 0 {
			continue
		}
		// What was overwritten meanwhile is never delivered: the count at the
		// start may be too high.
		if left--; left == 0 || meta.NumPending == 0 {
			left = 0
			if err := current(); err != nil {
				return err
			}
		}
	}
}

// Consumer makes one that keeps no account of what is read.
func (c *Conn) Consumer(ctx context.Context, handle jetstream.Stream, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	cfg.AckPolicy, cfg.MemoryStorage, cfg.Replicas, cfg.InactiveThreshold = jetstream.AckNonePolicy, true, 1, tailIdle
	cfg.Description = c.Config.Name
	ctx, cancel, err := c.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	defer cancel()
	consumer, err := handle.CreateConsumer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", Explained(ctx, err))
	}
	return consumer, nil
}

// Discard deletes a consumer, after ctx ended too.
func (c *Conn) Discard(ctx context.Context, handle jetstream.Stream, consumer jetstream.Consumer) {
	ctx, cancel, err := c.Begin(context.WithoutCancel(ctx))
	if err != nil {
		return // the bus forgets it by itself
	}
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, FlushTimeout)
	defer stop()
	_ = handle.DeleteConsumer(ctx, consumer.CachedInfo().Name) // the bus forgets it by itself
}
