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
	"errors"
	"log/slog"

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

// New makes a controller; Run starts it.
func New(cfg Config, bus Bus, open Open, logs Logs, log *slog.Logger) (*leader.Leader, error) {
	if cfg.ID == "" {
		return nil, errors.New("controller: an id is needed")
	}
	plan := func(s *cluster.State) leader.Plan { return newPlan(s) }
	return leader.New(cfg, bus, open, logs, plan, log.With(events.KeyRole, "controller")), nil
}
