package controller

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"ringway/events"
)

// planner decides for one term.
type planner interface {
	decide(now time.Time) []effect // the next effects; none: nothing is left to do
	verbs() map[string]verb
}

// leader stands for election, and leads.
type leader struct {
	cfg  Config
	bus  Bus
	open Open
	logs Logs
	plan func(*state) planner // for one term
	log  *slog.Logger
}

func newLeader(cfg Config, bus Bus, open Open, logs Logs, plan func(*state) planner, log *slog.Logger) *leader {
	return &leader{cfg: cfg, bus: bus, open: open, logs: logs, plan: plan, log: log}
}

// campaign tries once to become the leader; events.ErrConflict means that
// somebody else leads.
func (c *leader) campaign(ctx context.Context) (*lease, error) {
	call, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	b, err := c.open(call, events.BucketLease)
	if err != nil {
		return nil, err
	}
	return acquire(ctx, b, c.cfg)
}

// lead returns when ctx ends or the term does.
func (c *leader) lead(ctx context.Context, l *lease) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	t := &term{
		cfg: c.cfg, bus: c.bus, open: c.open, log: c.log.With(events.KeyToken, l.token.Revision), lease: l,
		logs: c.logs, jobSlots: make(chan struct{}, maxJobs),
		outbox: newOutbox(c.bus, c.log), undecodable: map[string]events.Version{}, inputs: make(chan input, 1024),
		state: newState(c.cfg, l.token, uint64(time.Now().UnixNano()), time.Now()),
	}
	t.plan = c.plan(t.state)
	held, sent := make(chan struct{}), make(chan struct{})
	go func() { defer close(held); cancel(l.hold(ctx, c.cfg)) }()
	go func() { defer close(sent); t.outbox.run(ctx) }()

	err := t.run(ctx)
	cancel(err)
	<-held
	<-sent
	bye, done := context.WithTimeout(context.WithoutCancel(parent), time.Second)
	defer done()
	l.release(bye)
	if errors.Is(err, errRolledBack) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
