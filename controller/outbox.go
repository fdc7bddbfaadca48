package controller

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
)

// outbox publishes events in order, apart from the decisions: a slow event
// stream delays nobody. What it still holds when the term ends stands in the
// stored values, and the next leader publishes it.
type outbox struct {
	bus  Bus
	log  *slog.Logger
	mu   sync.Mutex
	held []events.Event
	more chan struct{}
}

// most bounds the memory of an outbox while the event stream is away.
const most = 10000

func newOutbox(bus Bus, log *slog.Logger) *outbox {
	return &outbox{bus: bus, log: log, more: make(chan struct{}, 1)}
}

func (o *outbox) add(e events.Event) {
	o.mu.Lock()
	if len(o.held) < most {
		o.held = append(o.held, e)
	}
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

func (o *outbox) run(ctx context.Context) {
	for {
		o.mu.Lock()
		held := o.held
		o.held = nil
		o.mu.Unlock()
		for _, e := range held {
			o.publish(ctx, e)
		}
		select {
		case <-ctx.Done():
			return
		case <-o.more:
		}
	}
}

func (o *outbox) publish(ctx context.Context, e events.Event) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := o.bus.Emit(call, e)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			o.log.Warn("event not published yet", "event", e.ID, events.KeyError, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
