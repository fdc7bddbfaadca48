package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/link"
	"ringway/events/cloudevent"
)

// Emit stores an event in the stream of events, once: it tries again with the
// same id until the bus acknowledges it or ctx ends, past an election too. An
// event that is there already, for dedupWindow, is success.
func (c *Conn) Emit(ctx context.Context, e events.Event) error {
	for attempt := 1; ; attempt++ {
		err := c.emitOnce(ctx, &e)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || c.link.NATS.IsClosed() || hopeless(err) || !link.Pause(ctx, attempt) {
			return fmt.Errorf("emit event %s on %s: %w", e.ID, e.Subject(), err)
		}
	}
}

func (c *Conn) emitOnce(ctx context.Context, e *events.Event) error {
	s := c.link.Stream(eventsConfig())
	if _, err := s.Open(ctx); err != nil {
		return err
	}
	ctx, cancel, err := c.link.Begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	m := &nats.Msg{Subject: e.Subject(), Header: nats.Header{}, Data: e.Data}
	for k, v := range cloudevent.Headers(e) {
		m.Header.Set(k, v)
	}
	if _, err := c.link.JS.PublishMsg(ctx, m, jetstream.WithMsgID(e.ID), jetstream.WithExpectStream(events.StreamEvents)); err != nil {
		s.Forget()
		return link.Outcome(link.Explained(ctx, err))
	}
	return nil
}

// hopeless errors are about the event, or about a bus that is set up wrong.
func hopeless(err error) bool {
	return !link.Passing(err) && !errors.Is(err, events.ErrUnknownOutcome)
}

// Emitted reports whether e is the newest event on its subject: whether a
// predecessor has emitted it already.
func (c *Conn) Emitted(ctx context.Context, e events.Event) (bool, error) {
	_, m, err := c.link.Stream(eventsConfig()).Newest(ctx, e.Subject())
	if errors.Is(err, events.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for event %s: %w", e.ID, err)
	}
	return attribute(m.Header, "ce-id") == e.ID, nil
}

// History calls fn for every event that was stored since a time (zero: all),
// in order, each once, and then, if it is to follow, for those that come,
// until ctx ends. It waits for a bus that is away. It returns fn's error; nil
// when it has delivered all, or was following when ctx ended. What is no event is
// left out with a warning.
func (c *Conn) History(ctx context.Context, since time.Time, follow bool, fn func(events.Event) error) error {
	h := &history{conn: c, stream: c.link.Stream(eventsConfig()), since: since, follow: follow, fn: fn}
	for attempt := 1; ; attempt++ {
		before := h.next
		err := h.once(ctx)
		switch {
		case h.stopped != nil:
			return h.stopped
		case h.delivered && !follow, ctx.Err() != nil && follow:
			return nil
		case ctx.Err() != nil || c.link.NATS.IsClosed() || !link.PassingTail(err):
			return fmt.Errorf("read events: %w", err)
		}
		if h.next != before {
			attempt = 1
		}
		if !link.Pause(ctx, attempt) && !follow {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

// history is the state of one History that outlives its consumers.
type history struct {
	conn      *Conn
	stream    *link.Stream
	since     time.Time
	follow    bool
	fn        func(events.Event) error
	life      string // incarnation that next belongs to
	next      uint64 // sequence to go on from; 0: by time
	delivered bool
	stopped   error // by fn
}

var errDelivered = errors.New("all delivered")

func (h *history) once(ctx context.Context) error {
	line, err := h.conn.link.Online(ctx)
	if err != nil {
		return err
	}
	ctx, drop := link.Joined(ctx, line)
	defer drop()
	h.stream.Forget()
	l, err := h.stream.Open(ctx)
	if err != nil {
		return err
	}
	if l.Incarnation != h.life {
		h.life, h.next = l.Incarnation, 0
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case h.next > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, h.next
	case !h.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &h.since
	}
	return h.conn.link.Tail(ctx, l.Handle, cfg, h.each, func() error {
		if h.delivered = true; !h.follow {
			return errDelivered
		}
		return nil
	})
}

func (h *history) each(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	e, err := cloudevent.Parse(func(name string) string { return attribute(m.Headers(), name) }, m.Data())
	if err != nil {
		h.conn.link.Log.Warn("no event", "subject", m.Subject(), "seq", meta.Sequence.Stream, events.KeyError, err)
	} else if h.stopped = h.fn(e); h.stopped != nil {
		return h.stopped
	}
	h.next = meta.Sequence.Stream + 1
	return nil
}

// attribute reads a header whatever its case: CloudEvents allows any.
func attribute(h nats.Header, name string) string {
	if v := h.Get(name); v != "" {
		return v
	}
	for k, v := range h {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

const (
	eventsMaxBytes = 256 << 20
	// A leader that repeats an event after this calls Emitted first.
	dedupWindow = 10 * time.Minute
)

func eventsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: events.StreamEvents, Subjects: []string{events.AllEvents},
		Description: "what happened, and why",
		MaxAge:      events.EventsKept, MaxBytes: eventsMaxBytes, MaxMsgs: -1, MaxConsumers: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, Duplicates: dedupWindow,
	}
}
