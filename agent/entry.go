package agent

import (
	"context"
	"fmt"
	"time"

	"ringway/events"
)

type phase int

const (
	starting phase = iota // the runtime has not answered yet
	running
	stopping
	dead
)

// entry is one instance as the loop knows it.
type entry struct {
	spec  events.InstanceSpec
	in    Instance
	phase phase

	busy      verb      // what the runtime is doing for it
	since     time.Time // when that began
	changed   time.Time // a list from before knows less
	retryAt   time.Time
	stopError string // why the last attempt to stop it failed

	health    health
	stopProbe context.CancelFunc
}

// health is what the probes of one instance have shown.
type health struct {
	from   time.Time // when probing began
	probed bool
	ever   bool // ready once
	ready  bool
	fails  int // in a row
	last   string
}

// after is h after one more probe; err is nil if it succeeded.
func (h health) after(err error, maxFails int) health {
	h.probed = true
	if err == nil {
		h.ever, h.ready, h.fails, h.last = true, true, 0, ""
		return h
	}
	h.fails++
	h.last = err.Error()
	if h.fails >= maxFails {
		h.ready = false
	}
	return h
}

// status is what a heartbeat reports of it.
func (e *entry) status(cfg Config, now time.Time) events.InstanceStatus {
	s := events.InstanceStatus{
		Name: e.spec.Name, Service: e.spec.Service, ID: e.spec.ID, Kind: e.spec.Kind, Volume: e.spec.Volume,
		Address: e.in.Address, PID: e.in.PID, Started: e.in.Started,
	}
	switch {
	case e.phase == dead:
		s.State, s.Detail = events.Dead, e.in.Detail
	case e.phase == stopping:
		s.State, s.Detail = events.Stopping, e.stopError
	case e.phase == starting:
		s.State = events.Starting
	case e.health.ready:
		s.State = events.Ready
	case e.health.ever:
		s.State, s.Detail = events.Unready, e.health.last
	case now.Sub(e.health.from) > cfg.ReadyWithin:
		s.State, s.Detail = events.Unready, fmt.Sprintf("no successful health probe within %s: %s", cfg.ReadyWithin, e.health.last)
	default:
		s.State, s.Detail = events.Starting, e.health.last
	}
	if took := now.Sub(e.since); e.busy != "" && took > e.slowAfter(cfg) {
		s.Detail = fmt.Sprintf("%s: the runtime has not answered for %s", e.busy, took.Round(time.Second))
	}
	return s
}

func (e *entry) slowAfter(cfg Config) time.Duration {
	if e.busy == remove {
		return e.spec.Grace.D() + cfg.SlowAfter
	}
	return cfg.SlowAfter
}
