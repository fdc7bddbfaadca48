package router

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"ringway/events"
)

// leader is the controller that decides, asked over the bus.
type leader struct {
	bus      bus
	noLeader time.Duration // longest wait for a controller that is silent
	attempt  time.Duration // wait for one answer before asking again with the same id
	seen     atomic.Int64  // when its last heartbeat came, unix ns
}

// Ask sends req until the leader answers, always with the same id. It returns
// the leader's *events.StatusError; events.ErrNoLeader if nobody can have acted on req; or
// events.ErrUnknownOutcome.
func (l *leader) Ask(ctx context.Context, verb string, req, reply any) error {
	reached := false // somebody may have acted on it
	pause := time.NewTimer(0)
	defer pause.Stop()
	for begun := time.Now(); ; {
		select {
		case <-ctx.Done():
			return noAnswer(reached)
		case <-pause.C:
		}
		if time.Since(begun) >= l.noLeader && time.Since(time.Unix(0, l.seen.Load())) >= l.noLeader {
			return noAnswer(reached)
		}
		attempt, cancel := context.WithTimeout(ctx, l.attempt)
		err := l.bus.Request(attempt, verb, req, reply)
		cancel()
		var declined *events.StatusError
		switch {
		case err == nil, errors.As(err, &declined):
			return err
		case !errors.Is(err, events.ErrNoLeader):
			reached = true
		}
		pause.Reset(min(200*time.Millisecond, l.noLeader/10))
	}
}

func noAnswer(reached bool) error {
	if reached {
		return events.ErrUnknownOutcome
	}
	return events.ErrNoLeader
}
