// Package leader holds the lease, takes over what is stored, carries out the
// effects that a plan decides, and publishes events.
package leader

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Plan decides for one term.
type Plan interface {
	Decide(now time.Time) []cluster.Effect // the next effects; none: nothing is left to do
	Verbs() map[string]cluster.Verb
}

// Leader stands for election, and leads.
type Leader struct {
	cfg  cluster.Config
	bus  Bus
	open Open
	logs Logs
	plan func(*cluster.State) Plan // for one term
	log  *slog.Logger
}

func New(cfg cluster.Config, bus Bus, open Open, logs Logs, plan func(*cluster.State) Plan, log *slog.Logger) *Leader {
	return &Leader{cfg: cfg, bus: bus, open: open, logs: logs, plan: plan, log: log}
}

// Campaign tries once to become the leader; events.ErrConflict means that
// somebody else leads.
func (c *Leader) Campaign(ctx context.Context) (*Lease, error) {
	call, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	b, err := c.open(call, events.BucketLease)
	if err != nil {
		return nil, err
	}
	return acquire(ctx, b, c.cfg)
}

// Lead returns when ctx ends or the term does.
func (c *Leader) Lead(ctx context.Context, l *Lease) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	t := &term{
		cfg: c.cfg, bus: c.bus, open: c.open, log: c.log.With(events.KeyToken, l.Token.Revision), lease: l,
		logs: c.logs, jobSlots: make(chan struct{}, maxJobs),
		outbox: newOutbox(c.bus, c.log), undecodable: map[string]events.Version{}, inputs: make(chan input, 1024),
		state: cluster.New(c.cfg, l.Token, uint64(time.Now().UnixNano()), time.Now()),
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
