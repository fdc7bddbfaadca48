// Package controller decides: which instances a service has, on which host
// each runs, and which route routers follow.
//
// Of all controllers one leads at a time. Its plan is a function of what is
// stored, what was reported and the time (cluster, services, tables). The leader
// carries the plan's effects out by compare-and-set, so that a leader that was
// overtaken can change nothing. Every stored value carries the events that
// explain it, and they are published after it: what happened can be read
// afterwards even when a leader dies in between.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"ringway/controller/cluster"
	"ringway/controller/leader"
	"ringway/events"
)

// What a user of the package needs of those below it.
type (
	Config        = cluster.Config
	ServiceConfig = cluster.ServiceConfig
	TableConfig   = cluster.TableConfig
	ServersConfig = cluster.ServersConfig

	Bus    = leader.Bus
	Open   = leader.Open
	Bucket = leader.Bucket
	Logs   = leader.Logs
)

// DefaultConfig has the times that docs/ARCHITECTURE.md promises.
func DefaultConfig() Config { return cluster.DefaultConfig() }

// Controller leads or stands by.
type Controller struct {
	cfg    Config
	leader *leader.Leader
	log    *slog.Logger
}

// New makes a controller; Run starts it.
func New(cfg Config, bus Bus, open Open, logs Logs, log *slog.Logger) (*Controller, error) {
	if cfg.ID == "" {
		return nil, errors.New("controller: an id is needed")
	}
	if cfg.LeaseValid <= cfg.RenewEvery || cfg.LostAfter <= cfg.SuspectAfter || cfg.MoveAfter < cfg.LostAfter {
		return nil, fmt.Errorf("controller: LeaseValid (%s) must exceed RenewEvery (%s), MoveAfter (%s) LostAfter (%s), and that SuspectAfter (%s)",
			cfg.LeaseValid, cfg.RenewEvery, cfg.MoveAfter, cfg.LostAfter, cfg.SuspectAfter)
	}
	log = log.With(events.KeyRole, "controller")
	plan := func(s *cluster.State) leader.Plan { return newPlan(s) }
	return &Controller{cfg: cfg, leader: leader.New(cfg, bus, open, logs, plan, log), log: log}, nil
}

// Run stands by until it can lead, leads until it loses the lease, and so on
// until ctx ends. A bus that is away is waited for.
func (c *Controller) Run(ctx context.Context) error {
	var waiting string
	for {
		l, err := c.leader.Campaign(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			waiting = ""
			c.log.Info("term begun", events.KeyToken, l.Token)
			err = c.leader.Lead(ctx, l)
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
