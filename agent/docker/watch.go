package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	engineevents "github.com/docker/docker/api/types/events"

	"ringway/agent"
	"ringway/events"
)

// Run implements agent.Runtime.
func (r *Runtime) Run(ctx context.Context, died func(agent.Instance)) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		for {
			select {
			case <-r.wake:
				for _, in := range r.takeDeaths() {
					died(in)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	var since time.Time // of the engine's last event, by the engine's clock
	for away := false; ctx.Err() == nil; {
		err := r.stream(ctx, &since, &group, func() {
			if away {
				r.log.Info("the engine is back")
			}
			away = false
		})
		if ctx.Err() == nil && err != nil {
			if !away {
				r.log.Error("the engine does not tell what happens", events.KeyError, err)
			}
			away = true
			_ = pause(ctx, r.cfg.RetryAfter) // the end of ctx ends the loop
		}
	}
	return nil
}

// stream follows the engine's events until it is to be opened again, or fails.
func (r *Runtime) stream(parent context.Context, since *time.Time, group *sync.WaitGroup, opened func()) error {
	ctx, cancel := context.WithTimeout(parent, r.cfg.Reopen)
	defer cancel()
	if err := r.negotiateSoon(ctx); err != nil {
		return err
	}
	f := r.cfg.filter()
	f.Add("type", string(engineevents.ContainerEventType))
	f.Add("event", string(engineevents.ActionDie))
	options := engineevents.ListOptions{Filters: f}
	if !since.IsZero() {
		from := since.Add(-r.cfg.Overlap) // a death reported twice does no harm
		options.Since = fmt.Sprintf("%d.%09d", from.Unix(), from.Nanosecond())
	}
	// Events waits for the engine's first byte; one that hangs shall not hold us.
	messages, failed, err := r.open(ctx, cancel, options)
	if err != nil {
		return err
	}
	// An engine that was started anew has forgotten its events.
	if err := r.catchUp(ctx); err != nil {
		return err
	}
	opened()
	for {
		select {
		case m := <-messages:
			if at := time.Unix(0, m.TimeNano); at.After(*since) {
				*since = at
			}
			group.Go(func() { r.ended(parent, m) })
		case err := <-failed:
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil // old enough
			}
			return fmt.Errorf("events: %w", err)
		}
	}
}

func (r *Runtime) open(ctx context.Context, cancel func(), options engineevents.ListOptions) (<-chan engineevents.Message, <-chan error, error) {
	slow := time.AfterFunc(r.cfg.CallWithin, cancel)
	messages, failed := r.engine.Events(ctx, options)
	if !slow.Stop() {
		return nil, nil, errors.New("events: the engine does not answer")
	}
	return messages, failed, nil
}

// catchUp reports deaths that had no event, and removes what an agent left
// that died between create and start. The engine refuses to remove it if it
// runs by now.
func (r *Runtime) catchUp(ctx context.Context) error {
	if _, err := r.List(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	f := r.cfg.filter()
	f.Add("status", container.StateCreated)
	left, err := r.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: f})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, c := range left {
		r.mu.Lock()
		busy := r.names[c.Labels[LabelInstance]]
		r.mu.Unlock()
		if busy || !r.cfg.ours(c.Labels) {
			continue
		}
		err := r.engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{RemoveVolumes: true})
		if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) {
			r.log.Warn("cannot remove a container that was never started", events.KeyContainer, c.ID, events.KeyError, err)
		}
	}
	return nil
}

// ended takes a die event. If the engine does not answer in time, the event
// has to do.
func (r *Runtime) ended(ctx context.Context, m engineevents.Message) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallWithin)
	defer cancel()
	id := m.Actor.ID
	r.mu.Lock()
	l := r.observations[id]
	if l != nil && l.starting {
		l.ended = true // Start reports it
	}
	known := l != nil && !l.starting && l.in.Running
	r.mu.Unlock()
	if !known {
		return
	}
	found, err := r.engine.ContainerInspect(ctx, id)
	if err == nil {
		var in agent.Instance
		if in, err = r.cfg.instance(found); err == nil {
			r.observe(ctx, id, in)
			return
		}
	}
	code, _ := strconv.Atoi(m.Actor.Attributes["exitCode"])
	r.mu.Lock()
	in := l.in
	in.Running = false
	r.mu.Unlock()
	in.Detail = exitDetail(&container.State{ExitCode: code})
	r.observe(ctx, id, in)
}

// startBegins makes the events of a container wait for startEnded.
func (r *Runtime) startBegins(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observations[id] = &observation{starting: true}
}

// startEnded takes in a container that was started, and may have ended since.
func (r *Runtime) startEnded(ctx context.Context, id string, in agent.Instance) {
	r.mu.Lock()
	l := r.observations[id]
	if l == nil { // removed behind our back
		l = &observation{}
		r.observations[id] = l
	}
	ended := l.ended || !in.Running
	l.starting, l.in = false, in
	l.in.Running = true
	r.mu.Unlock()
	if !ended {
		return
	}
	if found, err := r.engine.ContainerInspect(ctx, id); err == nil {
		if now, err := r.cfg.instance(found); err == nil {
			in = now
		}
	}
	in.Running = false
	r.observe(ctx, id, in)
}

// observe compares a container with what was seen of it before, reports a death
// once, and returns the instance with what only we
// remember. It reports false for one that is being started.
func (r *Runtime) observe(ctx context.Context, id string, in agent.Instance) (agent.Instance, bool) {
	r.mu.Lock()
	l := r.observations[id]
	if l != nil && l.starting {
		r.mu.Unlock()
		return in, false
	}
	if l == nil {
		l = &observation{}
		r.observations[id] = l
	}
	before := l.in
	restarted := !in.Started.Equal(before.Started)
	if !in.Running && !restarted {
		in.PID = before.PID
	}
	if in.Running && !restarted && in.Address == "" {
		in.Address = before.Address // cut from its network it runs on, and its probes fail
	}
	if !in.Running && !restarted && !before.Running {
		in.Detail = before.Detail // reported already
		r.mu.Unlock()
		return in, true
	}
	l.in = in
	r.mu.Unlock()

	if !in.Running {
		if endedWithError(in.Detail) {
			if last := r.lastLogError(ctx, id); last != "" {
				in.Detail += ": " + last
			}
		}
		r.mu.Lock()
		l.in.Detail = in.Detail
		r.mu.Unlock()
	}
	if before.Running && (restarted || !in.Running) {
		gone := before
		gone.Running, gone.Detail = false, in.Detail
		if restarted {
			gone.Detail = "somebody started the container again"
		}
		r.reportDeath(gone)
	}
	return in, true
}

// reportDeath does not wait for the receiver.
func (r *Runtime) reportDeath(in agent.Instance) {
	r.mu.Lock()
	r.deaths = append(r.deaths, in)
	r.mu.Unlock()
	r.wake.Notify()
}

func (r *Runtime) takeDeaths() []agent.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.deaths
	r.deaths = nil
	return all
}

// forgetExcept drops what is remembered of containers that are gone.
func (r *Runtime) forgetExcept(alive map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, l := range r.observations {
		if !alive[id] && !l.starting {
			delete(r.observations, id)
		}
	}
}
