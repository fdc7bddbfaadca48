package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"ringway/events"
)

// term is one leader's time: it takes over what is stored, listens, decides
// and carries out, on one goroutine.
type term struct {
	cfg     Config
	bus     Bus
	open    Open
	log     *slog.Logger
	lease   *lease
	state   *state
	desired Bucket
	assign  Bucket
	routes  Bucket
	told    *outbox
	torn    map[string]events.Version // keys whose value nobody can read
	inputs  chan func(*state, time.Time) []effect
}

// errDeposed: the lease ran out before a decision could be carried out.
var errDeposed = errors.New("the lease has run out")

// lead returns when ctx ends or the term does.
func (c *Controller) lead(ctx context.Context, l *lease) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	t := &term{
		cfg: c.cfg, bus: c.bus, open: c.open, log: c.log.With(events.KeyToken, l.token.Revision), lease: l,
		told: newOutbox(c.bus, c.log), torn: map[string]events.Version{}, inputs: make(chan func(*state, time.Time) []effect, 1024),
		state: newState(c.cfg, l.token, uint64(time.Now().UnixNano()), time.Now()),
	}
	held, sent := make(chan struct{}), make(chan struct{})
	go func() { defer close(held); cancel(l.hold(ctx, c.cfg)) }()
	go func() { defer close(sent); t.told.run(ctx) }()

	err := t.run(ctx)
	cancel(err)
	<-held
	<-sent
	if parent.Err() != nil {
		bye, done := context.WithTimeout(context.WithoutCancel(parent), time.Second)
		defer done()
		l.release(bye)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func (t *term) run(ctx context.Context) error {
	if err := t.takeOver(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop, err := t.listen(ctx)
	if err != nil {
		cancel()
		return err
	}
	defer stop()
	defer cancel() // first: whoever waits to put an input in lets go

	tick, beat := time.NewTicker(100*time.Millisecond), time.NewTicker(events.BeatEvery)
	defer tick.Stop()
	defer beat.Stop()
	t.beat()
	for {
		var input func(*state, time.Time) []effect
		heartbeat := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case input = <-t.inputs:
		case <-beat.C:
			heartbeat = true
		case <-tick.C:
		}
		// A leader that was stopped wakes up here, with heartbeats and requests
		// waiting that are another leader's by now.
		if !t.lease.valid(time.Now()) {
			return errDeposed
		}
		var effects []effect
		if input != nil {
			effects = input(t.state, time.Now())
		}
		if heartbeat {
			t.beat()
		}
		if err := t.carryOut(ctx, effects); err != nil {
			return err
		}
		for {
			next := t.state.decide(time.Now())
			if len(next) == 0 {
				break
			}
			if err := t.carryOut(ctx, next); err != nil {
				return err
			}
		}
	}
}

// takeOver rewrites every key under this term, so that a compare-and-set of
// the former leader that is still on its way must fail, and tells the events
// that the former leader stored but could not publish.
func (t *term) takeOver(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.LeaseValid)
	defer cancel()
	for name, b := range map[string]*Bucket{events.BucketDesired: &t.desired, events.BucketAssign: &t.assign, events.BucketRoutes: &t.routes} {
		if *b, err = t.open(ctx, name); err != nil {
			return fmt.Errorf("take over: %w", err)
		}
	}
	s := t.state
	if err := rewrite(ctx, t, events.BucketDesired, t.desired, events.DecodeService, s.services, func(v *events.Service) (string, string) {
		return v.Spec.Name, events.ServiceKey(v.Spec.Name)
	}); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketAssign, t.assign, events.DecodeAssignment, s.assigned, func(v *events.Assignment) (string, string) {
		return v.Host, v.Host
	}); err != nil {
		return err
	}
	if err := rewrite(ctx, t, events.BucketRoutes, t.routes, events.DecodeRoute, s.routes, func(v *events.Route) (string, string) {
		return v.Service, events.ServiceKey(v.Service)
	}); err != nil {
		return err
	}
	for key := range t.torn {
		if name, ok := strings.CutPrefix(key, events.BucketDesired+"/"+events.ServiceKey("")); ok {
			s.torn[name] = true
		}
	}
	now := time.Now()
	s.assume(now)
	return t.carryOut(ctx, s.tell(now, events.EntityController, events.VerbElected, t.cfg.ID, map[string]any{
		"incarnation": s.term.Incarnation, "services": len(s.services), "hosts": len(s.hosts),
	}))
}

// value is a pointer to what a bucket stores: it says why it was decided.
type value[V any] interface {
	*V
	Why() *events.Decision
}

// rewrite reads a bucket and writes every value back under the new term. In
// place of one that cannot be read it takes the last one that can.
func rewrite[V any, P value[V]](ctx context.Context, t *term, bucket string, b Bucket, decodeValue func([]byte) (V, error), into map[string]*stored[V], identity func(P) (name, key string)) error {
	entries, err := b.Entries(ctx)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	for _, e := range entries {
		decode := func(b []byte) (V, error) {
			v, err := decodeValue(b)
			if _, key := identity(&v); err == nil && key != e.Key {
				err = fmt.Errorf("it is the value of %s", key)
			}
			return v, err
		}
		for {
			v, err := decode(e.Value)
			if err != nil {
				t.log.Error("stored value cannot be read; going back to the last one that can", "bucket", bucket, "key", e.Key, events.KeyError, err)
				former, err := b.Former(ctx, e.Key)
				if err != nil {
					return fmt.Errorf("take over: %w", err)
				}
				i := slices.IndexFunc(former, func(f events.Entry) bool { _, err := decode(f.Value); return err == nil })
				if i < 0 {
					t.log.Error("no former value can be read either; it is decided anew", "bucket", bucket, "key", e.Key)
					t.torn[bucket+"/"+e.Key] = e.Version
					break
				}
				v, _ = decode(former[i].Value)
			}
			why := P(&v).Why()
			for _, event := range why.Cause {
				if there, err := t.bus.Emitted(ctx, event); err != nil {
					return fmt.Errorf("take over: %w", err)
				} else if !there {
					t.told.add(event)
				}
			}
			why.Term = t.lease.token
			version, err := b.Update(ctx, e.Key, encode(v), e.Version)
			if err == nil {
				name, _ := identity(&v)
				into[name] = &stored[V]{v, version}
				break
			}
			if !errors.Is(err, events.ErrConflict) {
				return fmt.Errorf("take over %s: %w", e.Key, err)
			}
			if e, err = b.Get(ctx, e.Key); err != nil { // the former leader's last word
				return fmt.Errorf("take over: %w", err)
			}
		}
	}
	return nil
}

// listen feeds heartbeats and requests into the term.
func (t *term) listen(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	put := func(in func(*state, time.Time) []effect) {
		select {
		case t.inputs <- in:
		case <-ctx.Done():
		}
	}
	for subject, fold := range map[string]func([]byte) (func(*state, time.Time) []effect, error){
		events.HeartbeatAgents: func(b []byte) (func(*state, time.Time) []effect, error) {
			beat, err := events.DecodeHostBeat(b)
			return func(s *state, now time.Time) []effect { return s.observeHost(beat, now) }, err
		},
		events.HeartbeatRouters: func(b []byte) (func(*state, time.Time) []effect, error) {
			beat, err := events.DecodeRouterBeat(b)
			return func(s *state, now time.Time) []effect { return s.observeRouter(beat, now) }, err
		},
		events.HeartbeatController: func(b []byte) (func(*state, time.Time) []effect, error) {
			beat, err := events.DecodeControllerBeat(b)
			return func(s *state, now time.Time) []effect { s.observeSelf(beat, now); return nil }, err
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
	unserve, err := t.bus.Serve(ctx, t.cfg.Version, map[string]string{"controller": t.cfg.ID, "term": t.lease.token.String()}, t.verbs(ctx, put))
	if err != nil {
		stop()
		return nil, err
	}
	stops = append(stops, unserve)
	return stop, nil
}

// verbs are the answers to ringway.api.<verb>.
func (t *term) verbs(term context.Context, put func(func(*state, time.Time) []effect)) map[string]func(context.Context, []byte) (any, error) {
	type result struct {
		value any
		err   error
	}
	ask := func(ctx context.Context, in func(*state, time.Time, func(any, error)) []effect) (any, error) {
		answered := make(chan result, 1)
		put(func(s *state, now time.Time) []effect {
			return in(s, now, func(v any, err error) { answered <- result{v, err} })
		})
		select {
		case r := <-answered:
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
				return nil, events.Refuse(400, "the request is no JSON: %s", err)
			}
			return ask(ctx, func(s *state, now time.Time, done func(any, error)) []effect {
				r := &request{add: add, ask: req, deadline: now.Add(t.cfg.RequestTimeout), done: func(v events.ScaleReply, err error) { done(v, err) }}
				return s.accept(r, now)
			})
		}
	}
	return map[string]func(context.Context, []byte) (any, error){
		events.APIAdd:    scale(true),
		events.APIRemove: scale(false),
		events.APIStatus: func(ctx context.Context, _ []byte) (any, error) {
			return ask(ctx, func(s *state, now time.Time, done func(any, error)) []effect { done(s.status(now), nil); return nil })
		},
	}
}

// carryOut applies effects in order. A decision that cannot be stored ends the
// term: the next one begins with what is really stored.
func (t *term) carryOut(ctx context.Context, effects []effect) error {
	for _, e := range effects {
		if !t.lease.valid(time.Now()) {
			return errDeposed
		}
		var err error
		switch e := e.(type) {
		case putService:
			err = put(ctx, t, events.BucketDesired, t.desired, t.state.services, events.ServiceKey(e.value.Spec.Name), e.value.Spec.Name, e.value)
		case putAssign:
			err = put(ctx, t, events.BucketAssign, t.assign, t.state.assigned, e.value.Host, e.value.Host, e.value)
		case putRoute:
			err = put(ctx, t, events.BucketRoutes, t.routes, t.state.routes, events.ServiceKey(e.value.Service), e.value.Service, e.value)
		case emit:
			t.tell(e.event)
		case answer:
			e.request.done(e.reply, e.err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put stores a value and then tells why. Events of the former value that are
// not published yet go along, so that none is lost with this leader.
func put[V any, P value[V]](ctx context.Context, t *term, bucket string, b Bucket, into map[string]*stored[V], key, name string, v V) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	why := P(&v).Why()
	news := why.Cause
	have, ok := into[name]
	if ok {
		why.Cause = append(t.told.unpublished(P(&have.value).Why().Cause), news...)
	}
	var version events.Version
	var err error
	if ok {
		version, err = b.Update(ctx, key, encode(v), have.version)
	} else if torn, there := t.torn[bucket+"/"+key]; there {
		version, err = b.Update(ctx, key, encode(v), torn)
	} else {
		version, err = b.Create(ctx, key, encode(v))
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	into[name] = &stored[V]{v, version}
	for _, e := range news {
		t.tell(e)
	}
	return nil
}

func (t *term) tell(e events.Event) {
	t.log.Info(e.Entity+" "+e.Verb, "about", e.About, "data", string(e.Data))
	t.told.add(e)
}

// beat says who leads, and which epochs routers should serve. It is lost when
// the bus is away; the next one says the same.
func (t *term) beat() {
	epochs := map[string]events.Epoch{}
	for name, r := range t.state.routes {
		epochs[name] = r.version
	}
	_ = t.bus.Publish(events.HeartbeatController, events.ControllerBeat{Controller: t.cfg.ID, Term: t.lease.token, Sent: time.Now().UTC(), Epochs: epochs})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encode: " + err.Error())
	}
	return b
}
