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
	// Questions that the bus may leave without a message beyond one for each record.
	spareQuestions = 16
	// The bus forgets a consumer whose reader is gone after this.
	tailIdle = 10 * time.Second
)

// ErrGap means that a message of a consumer got lost on its way.
var ErrGap = errors.New("a message is missing")

// ErrUnreadable means that the bus has messages of a stream that it never sends.
var ErrUnreadable = errors.New("the bus does not send what it says is there")

// Tail reads a stream through a consumer of its own, in order and without
// gaps, until something odd happens: a lost connection, a missing heartbeat, a
// consumer that is gone. Its callers open it again from where they were. It
// calls current once, when all that was there at the start was passed to each.
func (c *Conn) Tail(ctx context.Context, handle jetstream.Stream, cfg jetstream.ConsumerConfig, each func(jetstream.Msg, *jetstream.MsgMetadata) error, current func() error) error {
	consumer, err := c.Consumer(ctx, handle, cfg)
	if err != nil {
		return err
	}
	defer c.Discard(ctx, handle, consumer)
	t := &tail{conn: c, consumer: consumer, each: each}
	if err := t.first(ctx); err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	if err := current(); err != nil {
		return err
	}
	return t.follow(ctx, jetstream.PullMaxMessages(tailBatch))
}

// TailAhead is Tail with a bound of its own on what the bus sends ahead, for a
// caller who need not know when it is current.
func (c *Conn) TailAhead(ctx context.Context, ahead jetstream.PullMessagesOpt, handle jetstream.Stream, cfg jetstream.ConsumerConfig, each func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	consumer, err := c.Consumer(ctx, handle, cfg)
	if err != nil {
		return err
	}
	defer c.Discard(ctx, handle, consumer)
	return (&tail{conn: c, consumer: consumer, each: each}).follow(ctx, ahead)
}

// tail is how far one consumer was read.
type tail struct {
	conn     *Conn
	consumer jetstream.Consumer
	each     func(jetstream.Msg, *jetstream.MsgMetadata) error
	passed   uint64 // messages
}

// first passes what is there, and returns when the bus has no more of it.
//
// The number of messages that a consumer begins with is not how many it sends:
// what was overwritten meanwhile does not come, and neither does a damaged
// record, at which the bus even stops sending until it is asked again. So
// it is asked again, without waiting, until it says that nothing is left and all
// that it sent was passed. Each question takes it past one damaged record at
// least, so that there are no more questions than records.
func (t *tail) first(ctx context.Context) error {
	there := t.consumer.CachedInfo().NumPending
	for left, empty := there, uint64(0); left > 0 && t.passed < there; {
		batch, err := t.consumer.FetchNoWait(tailBatch)
		if err != nil {
			return Explained(ctx, err)
		}
		before := t.passed
		for m := range batch.Messages() {
			meta, err := t.pass(m)
			if err != nil {
				return err
			}
			left = min(left, meta.NumPending)
		}
		switch err := batch.Error(); {
		case err != nil:
			return Explained(ctx, err)
		case left == 0 || t.passed == before+tailBatch:
			continue
		case t.passed > before:
			empty = 0
		default:
			empty++
		}
		if empty > there+spareQuestions {
			return ErrUnreadable
		}
		if left, err = t.pending(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pending is how many messages the bus has yet to send.
func (t *tail) pending(ctx context.Context) (uint64, error) {
	ctx, cancel, err := t.conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	info, err := t.consumer.Info(ctx)
	if err != nil {
		return 0, Explained(ctx, err)
	}
	if info.NumPending == 0 && info.Delivered.Consumer != t.passed {
		return 0, ErrGap
	}
	return info.NumPending, nil
}

// follow passes what comes.
func (t *tail) follow(ctx context.Context, ahead jetstream.PullMessagesOpt) error {
	msgs, err := t.consumer.Messages(ahead, jetstream.PullExpiry(tailExpiry), jetstream.PullHeartbeat(TailHeartbeat))
	if err != nil {
		return fmt.Errorf("read consumer: %w", err)
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read consumer: %w", Explained(ctx, err))
		}
		if _, err := t.pass(m); err != nil {
			return err
		}
	}
}

func (t *tail) pass(m jetstream.Msg) (*jetstream.MsgMetadata, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read consumer: %w", err)
	}
	if t.passed++; meta.Sequence.Consumer != t.passed {
		return nil, ErrGap
	}
	return meta, t.each(m, meta)
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
