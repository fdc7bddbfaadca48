package controller

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

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
		events.HeartbeatAgents: func(b []byte) (input, error) {
			heartbeat, err := events.DecodeHostHeartbeat(b)
			return func(s *state, now time.Time) []effect { return s.observeHost(heartbeat, now) }, err
		},
		events.HeartbeatRouters: func(b []byte) (input, error) {
			heartbeat, err := events.DecodeRouterHeartbeat(b)
			return func(s *state, now time.Time) []effect { return s.observeRouter(heartbeat, now) }, err
		},
		events.HeartbeatShards: func(b []byte) (input, error) {
			heartbeat, err := events.DecodeShardHeartbeat(b)
			return func(s *state, now time.Time) []effect { return s.observeServer(heartbeat, now) }, err
		},
		events.HeartbeatController: func(b []byte) (input, error) {
			heartbeat, err := events.DecodeControllerHeartbeat(b)
			return func(s *state, now time.Time) []effect { s.observeSelf(heartbeat, now); return nil }, err
		},
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
	unserve, err := t.bus.Serve(ctx, t.cfg.Version, map[string]string{"controller": t.cfg.ID, "term": t.lease.token.String()}, t.verbs(ctx, put))
	if err != nil {
		stop()
		return nil, err
	}
	stops = append(stops, unserve)
	return stop, nil
}

// watchStored looks at what is stored, so that a change by somebody else is
// noticed before the next decision trips over it.
func (t *term) watchStored(ctx context.Context, put func(input)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	for bucket, version := range map[Bucket]func(*state, string) (events.Version, bool){
		t.desired: (*state).desiredVersion, t.assign: (*state).assignVersion, t.routes: (*state).routeVersion,
	} {
		watches.Go(func() {
			err := bucket.Watch(ctx, "", func(e events.Entry) {
				put(func(s *state, _ time.Time) []effect { return s.observeStored(e, version) })
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
	enqueue := func(ctx context.Context, in func(*state, time.Time, func(any, error)) []effect) (any, error) {
		answer := make(chan result, 1)
		put(func(s *state, now time.Time) []effect {
			return in(s, now, func(v any, err error) { answer <- result{v, err} })
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
	scale := func(add bool) func(context.Context, []byte) (any, error) {
		return func(ctx context.Context, body []byte) (any, error) {
			var req events.ScaleRequest
			if err := json.Unmarshal(body, &req); err != nil {
				return nil, events.StatusErrorf(400, "the request is no JSON: %s", err)
			}
			req.ID = cmp.Or(req.ID, rand.Text())
			return enqueue(ctx, func(s *state, now time.Time, done func(any, error)) []effect {
				r := &request{add: add, req: req, deadline: now.Add(t.cfg.RequestTimeout), done: func(v events.ScaleReply, err error) { done(v, err) }}
				return s.accept(r, now)
			})
		}
	}
	verbs := map[string]func(context.Context, []byte) (any, error){
		events.APIAdd:    scale(true),
		events.APIRemove: scale(false),
		events.APIStatus: func(ctx context.Context, _ []byte) (any, error) {
			return enqueue(ctx, func(s *state, _ time.Time, done func(any, error)) []effect {
				s.statusRequests = append(s.statusRequests, done)
				return nil
			})
		},
	}
	for verb, read := range tableVerbs {
		verbs[verb] = func(ctx context.Context, body []byte) (any, error) {
			r, err := read(body)
			if err != nil {
				return nil, events.StatusErrorf(400, "the request is no JSON: %s", err)
			}
			return enqueue(ctx, func(s *state, now time.Time, done func(any, error)) []effect {
				r.deadline, r.done = now.Add(t.cfg.TableTimeout), done
				s.tableRequests = append(s.tableRequests, r)
				return nil
			})
		}
	}
	return verbs
}
