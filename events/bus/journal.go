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
		if ctx.Err() != nil || c.nats.IsClosed() || hopeless(err) || !pause(ctx, attempt) {
			return fmt.Errorf("emit event %s on %s: %w", e.ID, e.Subject(), err)
		}
	}
}

func (c *Conn) emitOnce(ctx context.Context, e *events.Event) error {
	s := c.stream(c.eventsConfig())
	if _, err := s.open(ctx); err != nil {
		return err
	}
	ctx, cancel, err := c.request(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	m := &nats.Msg{Subject: e.Subject(), Header: nats.Header{}, Data: e.Data}
	for k, v := range cloudevent.Headers(e) {
		m.Header.Set(k, v)
	}
	if _, err := c.js.PublishMsg(ctx, m, jetstream.WithMsgID(e.ID), jetstream.WithExpectStream(events.StreamEvents)); err != nil {
		s.forget()
		return outcome(explained(ctx, err))
	}
	return nil
}

// hopeless errors are about the event, or about a bus that is set up wrong.
func hopeless(err error) bool {
	return !passing(err) && !errors.Is(err, events.ErrUnknownOutcome)
}

// Emitted reports whether e is the newest event on its subject: whether a
// predecessor has emitted it already.
func (c *Conn) Emitted(ctx context.Context, e events.Event) (bool, error) {
	fail := func(err error) (bool, error) { return false, fmt.Errorf("look for event %s: %w", e.ID, err) }
	s := c.stream(c.eventsConfig())
	l, err := s.open(ctx)
	if err != nil {
		return fail(err)
	}
	ctx, cancel, err := c.request(ctx)
	if err != nil {
		return fail(err)
	}
	defer cancel()
	m, err := l.handle.GetLastMsgForSubject(ctx, e.Subject())
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		s.forget()
		return fail(explained(ctx, err))
	}
	return attribute(m.Header, "ce-id") == e.ID, nil
}

// History calls fn for every event that was stored since a time (zero: all),
// in order, each once, and then, if it is to follow, for those that come,
// until ctx ends. It waits for a bus that is away. It returns fn's error; nil
// when it has told all, or was following when ctx ended. What is no event is
// left out with a warning.
func (c *Conn) History(ctx context.Context, since time.Time, follow bool, fn func(events.Event) error) error {
	h := &history{conn: c, stream: c.stream(c.eventsConfig()), since: since, follow: follow, fn: fn}
	for attempt := 1; ; attempt++ {
		before := h.next
		err := h.once(ctx)
		switch {
		case h.stopped != nil:
			return h.stopped
		case h.told && !follow, ctx.Err() != nil && follow:
			return nil
		case ctx.Err() != nil || c.nats.IsClosed() || !passingTail(err):
			return fmt.Errorf("read events: %w", err)
		}
		if h.next != before {
			attempt = 1
		}
		if !pause(ctx, attempt) && !follow {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

// history is the state of one History that outlives its consumers.
type history struct {
	conn    *Conn
	stream  *stream
	since   time.Time
	follow  bool
	fn      func(events.Event) error
	life    string // incarnation that next belongs to
	next    uint64 // sequence to go on from; 0: by time
	told    bool
	stopped error // by fn
}

var errTold = errors.New("all told")

func (h *history) once(ctx context.Context) error {
	line, err := h.conn.online(ctx)
	if err != nil {
		return err
	}
	ctx, drop := joined(ctx, line)
	defer drop()
	h.stream.forget()
	l, err := h.stream.open(ctx)
	if err != nil {
		return err
	}
	if l.incarnation != h.life {
		h.life, h.next = l.incarnation, 0
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case h.next > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, h.next
	case !h.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &h.since
	}
	return h.conn.tail(ctx, l.handle, cfg, h.each, func() error {
		if h.told = true; !h.follow {
			return errTold
		}
		return nil
	})
}

func (h *history) each(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	e, err := cloudevent.Parse(func(name string) string { return attribute(m.Headers(), name) }, m.Data())
	if err != nil {
		h.conn.log.Warn("no event", "subject", m.Subject(), "seq", meta.Sequence.Stream, events.KeyError, err)
	} else if h.stopped = h.fn(e); h.stopped != nil {
		return h.stopped
	}
	h.next = meta.Sequence.Stream + 1
	return nil
}

// passingTail adds to passing what only happens to consumers.
func passingTail(err error) bool {
	for _, e := range []error{
		errGap, jetstream.ErrNoHeartbeat, jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrMsgIteratorClosed,
		jetstream.ErrConsumerLeadershipChanged, jetstream.ErrServerShutdown, jetstream.ErrConnectionClosed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return passing(err)
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
