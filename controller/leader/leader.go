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

	standby standby
}

func New(cfg cluster.Config, bus Bus, open Open, logs Logs, plan func(*cluster.State) Plan, log *slog.Logger) *Leader {
	return &Leader{cfg: cfg, bus: bus, open: open, logs: logs, plan: plan, log: log}
}

// Run stands by until it can lead, leads until it loses the lease, and so on
// until ctx ends. A bus that is away is waited for.
func (c *Leader) Run(ctx context.Context) error {
	var waiting string
	for {
		l, err := c.campaign(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			waiting = ""
			c.log.Info("term begun", events.KeyToken, l.Token)
			err = c.lead(ctx, l)
			if ctx.Err() != nil {
				return nil
			}
			c.log.Warn("term ended", events.KeyToken, l.Token, events.KeyError, err)
		case errors.Is(err, events.ErrConflict):
			if waiting != "standby" {
				c.log.Info("standing by: another controller leads")
			}
			waiting = "standby"
		case waiting != err.Error():
			c.log.Warn("cannot stand for election", events.KeyError, err)
			waiting = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.cfg.RenewEvery / 2):
		}
	}
}

// campaign tries once to become the leader; events.ErrConflict means that
// somebody else leads.
func (c *Leader) campaign(ctx context.Context) (*Lease, error) {
	call, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	b, err := c.open(call, events.BucketLease)
	if err != nil {
		return nil, err
	}
	return c.standby.acquire(ctx, b, c.cfg)
}

// lead returns when ctx ends or the term does.
func (c *Leader) lead(ctx context.Context, l *Lease) error {
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
