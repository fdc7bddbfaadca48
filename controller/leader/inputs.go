package leader

import (
	"context"
	"sync"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// listen feeds heartbeats and requests into the term.
func (t *term) listen(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	put := func(in input) {
		select {
		case t.inputs <- in:
		case <-ctx.Done():
		}
	}
	for subject, fold := range map[string]func([]byte) (input, error){
		events.HeartbeatAgents:  observation(events.DecodeHostHeartbeat, t.state.ObserveHost),
		events.HeartbeatRouters: observation(events.DecodeRouterHeartbeat, t.state.ObserveRouter),
		events.HeartbeatShards:  observation(events.DecodeShardHeartbeat, t.state.ObserveServer),
		events.HeartbeatController: observation(events.DecodeControllerHeartbeat, func(b events.ControllerHeartbeat, now time.Time) []cluster.Effect {
			t.state.ObserveSelf(b, now)
			return nil
		}),
	} {
		cancel, err := t.bus.Listen(subject, func(from string, data []byte) {
			in, err := fold(data)
			if err != nil {
				t.log.Warn("heartbeat refused", "subject", from, events.KeyError, err)
				return
			}
			put(in)
		})
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, cancel)
	}
	stops = append(stops, t.watchStored(ctx, put))
	unserve, err := t.bus.Serve(ctx, t.cfg.Version, map[string]string{"controller": t.cfg.ID, "term": t.lease.Token.String()}, t.verbs(ctx, put))
	if err != nil {
		stop()
		return nil, err
	}
	stops = append(stops, unserve)
	return stop, nil
}

// observation makes an input of a heartbeat.
func observation[H any](decode func([]byte) (H, error), observe func(H, time.Time) []cluster.Effect) func([]byte) (input, error) {
	return func(b []byte) (input, error) {
		heartbeat, err := decode(b)
		return func(now time.Time) []cluster.Effect { return observe(heartbeat, now) }, err
	}
}

// watchStored looks at what is stored, so that a change by somebody else is
// noticed before the next decision trips over it.
func (t *term) watchStored(ctx context.Context, put func(input)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	for name, bucket := range map[string]Bucket{events.BucketDesired: t.desired, events.BucketAssign: t.assign, events.BucketRoutes: t.routes} {
		watches.Go(func() {
			err := bucket.Watch(ctx, "", func(e events.Entry) {
				put(func(time.Time) []cluster.Effect { return t.state.ObserveStored(name, e) })
			})
			if err != nil && ctx.Err() == nil {
				t.log.Warn("stored values cannot be watched", events.KeyError, err)
			}
		})
	}
	return func() { cancel(); watches.Wait() }
}

// verbs are the answers to ringway.api.<verb>.
func (t *term) verbs(term context.Context, put func(input)) map[string]func(context.Context, []byte) (any, error) {
	type result struct {
		value any
		err   error
	}
	verbs := map[string]func(context.Context, []byte) (any, error){}
	for name, read := range t.plan.Verbs() {
		verbs[name] = func(ctx context.Context, body []byte) (any, error) {
			begin, err := read(body)
			if err != nil {
				return nil, err
			}
			answer := make(chan result, 1)
			put(func(now time.Time) []cluster.Effect {
				return begin(now, func(v any, err error) { answer <- result{v, err} })
			})
			select {
			case r := <-answer:
				return r.value, r.err
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-term.Done():
				return nil, events.ErrUnknownOutcome
			}
		}
	}
	return verbs
}
