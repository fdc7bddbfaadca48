package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
)

// term is one leader's time: it takes over what is stored, listens, decides
// and carries out, on one goroutine.
type term struct {
	cfg         Config
	bus         Bus
	open        Open
	log         *slog.Logger
	lease       *lease
	state       *state
	plan        planner
	desired     Bucket
	assign      Bucket
	routes      Bucket
	outbox      *outbox
	logs        Logs
	jobs        sync.WaitGroup            // work on logs, apart from the decisions
	jobSlots    chan struct{}             // one for each job that may run
	undecodable map[string]events.Version // keys whose value nobody can read
	inputs      chan input
}

// input is something heard, asked or due, folded into the state.
type input func(now time.Time) []effect

func idle(time.Time) []effect { return nil }

// errOvertaken: somebody else wrote what only a leader may write.
var errOvertaken = errors.New("a stored value was changed by somebody else")

// errDeposed: the lease ran out before a decision could be carried out.
var errDeposed = errors.New("the lease has run out")

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
	defer t.jobs.Wait()
	defer cancel() // first: whoever waits to put an input in lets go

	tick, heartbeat := time.NewTicker(100*time.Millisecond), time.NewTicker(events.HeartbeatInterval)
	defer tick.Stop()
	defer heartbeat.Stop()
	t.heartbeat(time.Now())
	for {
		in := idle
		select {
		case <-ctx.Done():
			return ctx.Err()
		case in = <-t.inputs:
		case <-heartbeat.C:
			in = t.heartbeat
		case <-tick.C:
		}
		if err := t.fold(ctx, in); err != nil {
			return err
		}
		for next := t.plan.decide(time.Now()); len(next) > 0; next = t.plan.decide(time.Now()) {
			if err := t.carryOut(ctx, next); err != nil {
				return err
			}
		}
	}
}

// fold takes an input and all that wait behind it: what follows from them is
// decided once.
func (t *term) fold(ctx context.Context, in input) error {
	for range cap(t.inputs) {
		// A leader that was stopped wakes up here, with heartbeats and requests
		// waiting that are another leader's by now.
		if !t.lease.valid(time.Now()) {
			return errDeposed
		}
		if err := t.carryOut(ctx, in(time.Now())); err != nil {
			return err
		}
		select {
		case in = <-t.inputs:
		default:
			return nil
		}
	}
	return nil
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
		case putTable:
			name := e.value.Table.Name
			err = put(ctx, t, events.BucketDesired, t.desired, t.state.tables, events.TableKey(name), name, e.value)
		case putTableRoute:
			name := e.value.Table.Name
			err = put(ctx, t, events.BucketRoutes, t.routes, t.state.tableRoutes, events.TableKey(name), name, e.value)
		case rolledBack:
			if err = t.carryOut(ctx, []effect{e.proof}); err == nil {
				err = t.beginAnew(ctx, e)
			}
		case resign:
			err = fmt.Errorf("%w: %s", errOvertaken, e.key)
		case emit:
			t.publish(e.event)
		case answer:
			e.done(e.reply, e.err)
		case deleteOldLog:
			t.runJob(ctx, func(ctx context.Context) input { return t.deleteOldLog(ctx, e) })
		case createLog:
			t.runJob(ctx, func(ctx context.Context) input { return t.createLog(ctx, e) })
		case purgeLog:
			t.runJob(ctx, func(ctx context.Context) input { return t.purgeLog(ctx, e) })
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
	why.Former = t.undecodable[bucket+"/"+key]
	if have, ok := into[name]; ok {
		why.Former = have.version
		why.Cause = append(t.outbox.unpublished(P(&have.value).Why().Cause), news...)
	}
	var version events.Version
	var err error
	former := why.Former.Revision
	if !why.Former.Zero() {
		version, err = b.Update(ctx, key, encode(v), why.Former)
	} else {
		version, err = b.Create(ctx, key, encode(v))
		former = version.Revision - 1 // it may have been there before, and deleted
	}
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	into[name] = &stored[V]{value: v, version: version, former: former}
	for _, e := range news {
		t.publish(e)
	}
	return nil
}

func (t *term) publish(e events.Event) {
	t.log.Info(e.Entity+" "+e.Verb, "about", e.About, "data", string(e.Data))
	t.outbox.add(e)
}

// heartbeat says who leads, and which versions are to be obeyed. It is lost when
// the bus is away; the next one says the same.
func (t *term) heartbeat(now time.Time) []effect {
	s := t.state
	epochs := map[string]events.Epoch{}
	for name, r := range s.routes {
		epochs[name] = r.version
	}
	tables := map[string]events.Epoch{}
	for name, r := range s.tableRoutes {
		tables[name] = r.version
	}
	assigned := map[string]events.Version{}
	for host, a := range s.assigned {
		assigned[host] = a.version
	}
	_ = t.bus.Publish(events.HeartbeatController, events.ControllerHeartbeat{Controller: t.cfg.ID, Term: t.lease.token, Sent: now.UTC(), Epochs: epochs, Tables: tables, Assigned: assigned})
	return nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encode: " + err.Error())
	}
	return b
}
