package leader

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/events/size"
)

// outbox publishes events in order, apart from the decisions: a slow event
// stream delays nobody. What it still holds when the term ends stands in the
// stored values, and the next leader publishes it.
type outbox struct {
	bus  Bus
	log  *slog.Logger
	mu   sync.Mutex
	held []events.Event // oldest first; the first may be on its way
	more chan struct{}
}

// maxHeldEvents bounds the memory of an outbox while the event stream is away.
const maxHeldEvents = 10000

func newOutbox(bus Bus, log *slog.Logger) *outbox {
	return &outbox{bus: bus, log: log, more: make(chan struct{}, 1)}
}

func (o *outbox) add(e events.Event) {
	o.mu.Lock()
	if len(o.held) < maxHeldEvents {
		o.held = append(o.held, e)
	}
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// unpublished picks the events that the outbox still holds: the newest, as many
// as a stored value may carry.
func (o *outbox) unpublished(of []events.Event) []events.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	var left []events.Event
	for _, e := range of {
		if slices.ContainsFunc(o.held, func(h events.Event) bool { return h.ID == e.ID }) {
			left = append(left, e)
		}
	}
	left = left[max(0, len(left)-cluster.MaxCarriedEvents):]
	bytes := 0
	for i := len(left) - 1; i >= 0; i-- {
		if bytes += size.EncodedBytes(left[i]); bytes > size.MaxCauseBytes/2 {
			return left[i+1:]
		}
	}
	return left
}

func (o *outbox) run(ctx context.Context) {
	for {
		e, ok := o.first()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-o.more:
				continue
			}
		}
		if !o.publish(ctx, e) {
			return
		}
		o.mu.Lock()
		o.held = o.held[1:]
		o.mu.Unlock()
	}
}

func (o *outbox) first() (events.Event, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.held) == 0 {
		return events.Event{}, false
	}
	return o.held[0], true
}

// publish tries until it succeeds, or the bus refuses the event for itself (true),
// or ctx ends.
func (o *outbox) publish(ctx context.Context, e events.Event) bool {
	for {
		call, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := o.bus.Emit(call, e)
		cancel()
		if err == nil {
			return true
		}
		if errors.Is(err, events.ErrRefused) {
			o.log.Error("event cannot be published, and is left out", "event", e.ID, "subject", e.Subject(), "bytes", len(e.Data), events.KeyError, err)
			return true
		}
		if ctx.Err() == nil {
			o.log.Warn("event not published yet", "event", e.ID, events.KeyError, err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
	}
}
