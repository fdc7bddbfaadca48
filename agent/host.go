package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"ringway/events"
)

// host is what the loop knows. Only the loop touches it.
type host struct {
	*Agent
	work  context.Context // of the loop's helpers; the loop itself ends with Run's
	group *sync.WaitGroup

	fence       fence
	accepted    *accepted // the newest that was accepted; nil: no news yet
	entries     map[string]*entry
	earlyDeaths map[string]Instance  // deaths reported before the start
	removed     map[string]time.Time // so that an older list brings nothing back
	known       bool                 // the runtime has listed once what runs
	quietUntil  time.Time            // no heartbeat before, unless all that runs was probed
	closing     bool
	refused     string // why the newest assignment is not applied
	listError   string // why nobody knows what runs

	dirty         bool
	lastHeartbeat time.Time
}

func newHost(work context.Context, a *Agent, group *sync.WaitGroup, f fence) *host {
	return &host{
		Agent: a, work: work, group: group, fence: f,
		entries: map[string]*entry{}, earlyDeaths: map[string]Instance{}, removed: map[string]time.Time{},
	}
}

// apply takes an accepted assignment.
func (h *host) apply(o accepted) {
	h.accepted, h.fence, h.refused, h.dirty = &o, o.fence, "", true
	for _, spec := range o.assignment.Instances {
		// What runs keeps its command; how it is probed and stopped may change.
		if e := h.entries[spec.Name]; e != nil {
			changed := e.spec.Health != spec.Health
			e.spec.Health, e.spec.Grace = spec.Health, spec.Grace
			if changed && e.phase == running {
				h.watch(e)
			}
		}
	}
	h.reconcile()
}

func (h *host) refuse(why string) { h.refused, h.dirty = why, true }

// close wants nothing to run, and returns how long that may take.
func (h *host) close() time.Duration {
	h.log.Info("the supervisor is gone; stopping all instances", "instances", len(h.entries))
	longest := time.Duration(0)
	for _, e := range h.entries {
		longest = max(longest, e.spec.Grace.D())
	}
	h.closing = true
	h.reconcile()
	return longest + h.cfg.StopSlack
}

// reconcile begins what is to be done now. Before the runtime has listed what
// runs, nothing is.
func (h *host) reconcile() {
	if !h.known {
		return
	}
	now := time.Now()
	for _, s := range plan(h.entries, h.accepted, h.closing, now) {
		h.dirty = true
		e := h.entries[s.spec.Name]
		if s.verb == start {
			e = &entry{spec: s.spec, phase: starting}
			h.entries[s.spec.Name] = e
			delete(h.removed, s.spec.Name)
		} else if e.phase != dead {
			e.phase = stopping
			h.unwatch(e)
		}
		e.busy, e.since, e.changed = s.verb, now, now
		h.group.Go(h.call(s))
	}
}

// call is one call of the runtime, and what comes of it.
func (h *host) call(s step) func() {
	name, token := s.spec.Name, h.fence.Token
	if s.verb == start {
		return func() {
			ctx, cancel := context.WithTimeout(h.work, h.cfg.StartWithin)
			defer cancel()
			in, err := h.rt.Start(ctx, s.spec, token)
			h.post(h.work, func(h *host) { h.started(name, in, err) })
		}
	}
	return func() {
		ctx, cancel := context.WithTimeout(h.work, s.spec.Grace.D()+h.cfg.StartWithin)
		defer cancel()
		err := h.rt.Stop(ctx, name, s.spec.Grace.D())
		if err == nil {
			err = h.rt.Forget(ctx, name)
		}
		h.post(h.work, func(h *host) { h.stopped(name, err) })
	}
}

func (h *host) started(name string, in Instance, err error) {
	e := h.entries[name]
	h.callEnded(e)
	log := h.log.With(events.KeyInstance, name)
	if err != nil {
		log.Error("instance not started", events.KeyError, err)
		e.phase, e.in = dead, Instance{Spec: e.spec, Token: h.fence.Token, Detail: err.Error()}
	} else {
		log.Info("instance started", events.KeyPID, in.PID, events.KeyAddress, in.Address)
		h.run(e, in)
	}
	h.reconcile()
}

func (h *host) stopped(name string, err error) {
	e := h.entries[name]
	h.callEnded(e)
	log := h.log.With(events.KeyInstance, name)
	if err != nil {
		if e.stopError == "" {
			log.Warn("instance not stopped", events.KeyError, err)
		}
		e.stopError, e.retryAt = err.Error(), time.Now().Add(h.cfg.RetryAfter)
		return
	}
	log.Info("instance stopped")
	delete(h.entries, name)
	delete(h.earlyDeaths, name)
	h.removed[name] = time.Now()
	h.reconcile()
}

func (h *host) callEnded(e *entry) {
	e.busy, e.changed, h.dirty = "", time.Now(), true
}

// died takes a notice of the runtime, which may overtake the answer to Start.
func (h *host) died(in Instance) {
	e := h.entries[in.Spec.Name]
	switch {
	case e == nil || e.phase == starting:
		h.earlyDeaths[in.Spec.Name] = in
	case e.phase == running && e.in.same(in):
		h.markDead(e, in.Detail)
	case e.phase == stopping:
		e.in.Running, e.in.Detail = false, in.Detail
	}
}

func (h *host) markDead(e *entry, detail string) {
	h.log.Warn("instance died", events.KeyInstance, e.spec.Name, events.KeyPID, e.in.PID, events.KeyCause, detail)
	e.phase, e.in.Running, e.in.Detail = dead, false, detail
	e.changed, h.dirty = time.Now(), true
	h.unwatch(e)
}

// run takes in an instance that runs, or did when the runtime reported it.
func (h *host) run(e *entry, in Instance) {
	e.in, e.phase = in, running
	if notice, ok := h.earlyDeaths[in.Spec.Name]; ok {
		delete(h.earlyDeaths, in.Spec.Name)
		if notice.same(in) {
			h.markDead(e, notice.Detail)
			return
		}
	}
	h.watch(e)
}

func (h *host) watch(e *entry) {
	h.unwatch(e)
	ctx, cancel := context.WithCancel(h.work)
	e.stopProbe, e.health.from = cancel, time.Now()
	in, path := e.in, e.spec.Health
	h.group.Go(func() { h.probe(ctx, in, path) })
}

func (h *host) unwatch(e *entry) {
	if e.stopProbe != nil {
		e.stopProbe()
		e.stopProbe = nil
	}
}

// probed takes the result of one probe.
func (h *host) probed(in Instance, err error) {
	e := h.entries[in.Spec.Name]
	if e == nil || e.phase != running || !e.in.same(in) {
		return
	}
	was := e.health
	e.health = was.after(err, h.cfg.ProbeFails)
	if was.ready != e.health.ready {
		log := h.log.With(events.KeyInstance, e.spec.Name, events.KeyAddress, in.Address)
		if e.health.ready {
			log.Info("instance ready")
		} else {
			log.Warn("instance unready", events.KeyError, err)
		}
	}
	if was.ready != e.health.ready || was.last != e.health.last || !was.probed {
		h.dirty = true
	}
}

// listed compares the runtime's list with what is known since begun.
func (h *host) listed(all []Instance, begun time.Time) {
	if !h.known {
		// The first heartbeat about adopted instances shall not be "starting": they
		// serve, and would lose their traffic for it.
		h.quietUntil = time.Now().Add(h.cfg.ProbeTimeout)
	}
	seen := map[string]bool{}
	for _, in := range all {
		name := in.Spec.Name
		seen[name] = true
		e := h.entries[name]
		switch {
		case e == nil && h.removed[name].Before(begun):
			h.adopt(in)
		case e == nil || e.busy != "" || e.changed.After(begun):
		case e.phase == running && !in.Running:
			h.markDead(e, in.Detail)
		}
	}
	for name, e := range h.entries {
		if !seen[name] && e.phase == running && e.busy == "" && !e.changed.After(begun) {
			h.markDead(e, "the runtime does not know it any more")
		}
	}
	for name, at := range h.removed {
		if at.Before(begun) {
			delete(h.removed, name)
		}
	}
	h.dirty = h.dirty || !h.known || h.listError != ""
	h.known, h.listError = true, ""
	h.reconcile()
}

func (h *host) adopt(in Instance) {
	e := &entry{spec: in.Spec, in: in, phase: dead, changed: time.Now()}
	h.entries[in.Spec.Name] = e
	h.dirty = true
	if in.Running {
		h.run(e, in)
	}
}

// heartbeatIfDue sends a heartbeat if something changed, and else returns how long
// to wait before, or 0 if there is nothing to send.
func (h *host) heartbeatIfDue(now time.Time) time.Duration {
	if !h.known || !h.dirty {
		return 0
	}
	wait := h.lastHeartbeat.Add(h.cfg.HeartbeatGap).Sub(now)
	if h.lastHeartbeat.IsZero() && h.unprobed() {
		wait = h.quietUntil.Sub(now)
	}
	if wait > 0 {
		return wait
	}
	h.dirty, h.lastHeartbeat = false, now
	heartbeat := events.HostHeartbeat{
		Host: h.cfg.Host, Incarnation: h.incarnation, Token: h.fence.Token, Assigned: h.fence.Assigned, Detail: cmp.Or(h.listError, h.refused),
		Instances: []events.InstanceStatus{},
	}
	for _, name := range slices.Sorted(maps.Keys(h.entries)) {
		heartbeat.Instances = append(heartbeat.Instances, h.entries[name].status(h.cfg, now))
	}
	h.send(heartbeat)
	return 0
}

// unprobed: something runs and its first probe has no result yet.
func (h *host) unprobed() bool {
	for _, e := range h.entries {
		if e.phase == running && !e.health.probed {
			return true
		}
	}
	return false
}

// list reads periodically from the runtime what runs.
func (a *Agent) list(work context.Context) {
	warned := false
	for work.Err() == nil {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(work, a.cfg.StartWithin)
		all, err := a.rt.List(ctx)
		cancel()
		if err != nil {
			if !warned && work.Err() == nil {
				a.log.Error("the runtime does not say what runs", events.KeyError, err)
				warned = true
			}
			a.post(work, func(h *host) { h.listError, h.dirty = "the runtime does not say what runs: "+err.Error(), true })
			pause(work, a.cfg.RetryAfter)
			continue
		}
		warned = false
		a.post(work, func(h *host) { h.listed(all, begun) })
		pause(work, a.cfg.ListEvery)
	}
}
