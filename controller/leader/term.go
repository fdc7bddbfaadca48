package leader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// term is one leader's time: it takes over what is stored, listens, decides
// and carries out, on one goroutine.
type term struct {
	cfg         cluster.Config
	bus         Bus
	open        Open
	log         *slog.Logger
	lease       *Lease
	state       *cluster.State
	plan        Plan
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

// input puts something that was received or is due into the state.
type input func(now time.Time) []cluster.Effect

func idle(time.Time) []cluster.Effect { return nil }

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
	t.jobs.Go(func() { t.addCopies(ctx) })

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
		for next := t.plan.Decide(time.Now()); len(next) > 0; next = t.plan.Decide(time.Now()) {
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
// term: the next one begins with what is really stored. One that the bus refuses
// for itself does not: nothing was stored, and a later term could not either.
func (t *term) carryOut(ctx context.Context, effects []cluster.Effect) error {
	for _, e := range effects {
		if !t.lease.valid(time.Now()) {
			return errDeposed
		}
		err := t.apply(ctx, e)
		if bucket, key, _, ok := cluster.Target(e); ok && err == nil {
			cluster.RecordStored(t.state, bucket, key)
		} else if ok && errors.Is(err, events.ErrRefused) {
			told := cluster.RecordRefusal(t.state, e, err, time.Now())
			if len(told) > 0 {
				t.log.Error("a value cannot be stored; everything else goes on", "bucket", bucket, "key", key, events.KeyError, err)
			}
			err = t.carryOut(ctx, told)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *term) apply(ctx context.Context, e cluster.Effect) (err error) {
	switch e := e.(type) {
	case cluster.PutService:
		err = put(ctx, t, events.BucketDesired, t.desired, t.state.Services, events.ServiceKey(e.Value.Spec.Name), e.Value.Spec.Name, e.Value)
	case cluster.PutAssignment:
		err = put(ctx, t, events.BucketAssign, t.assign, t.state.Assigned, e.Value.Host, e.Value.Host, e.Value)
	case cluster.PutRoute:
		err = put(ctx, t, events.BucketRoutes, t.routes, t.state.Routes, events.ServiceKey(e.Value.Service), e.Value.Service, e.Value)
	case cluster.PutTable:
		name := e.Value.Table.Name
		err = put(ctx, t, events.BucketDesired, t.desired, t.state.Tables, events.TableKey(name), name, e.Value)
	case cluster.PutTableRoute:
		name := e.Value.Table.Name
		err = put(ctx, t, events.BucketRoutes, t.routes, t.state.TableRoutes, events.TableKey(name), name, e.Value)
	case cluster.RolledBack:
		if err = t.apply(ctx, e.Proof); err == nil {
			err = t.beginAnew(ctx, e)
		}
	case cluster.Resign:
		err = fmt.Errorf("%w: %s", errOvertaken, e.Key)
	case cluster.Emit:
		t.publish(e.Event)
	case cluster.Answer:
		e.Done(e.Reply, e.Err)
	case cluster.DeleteOldLog:
		t.runJob(ctx, func(ctx context.Context) input { return t.deleteOldLog(ctx, e) })
	case cluster.CreateLog:
		t.runJob(ctx, func(ctx context.Context) input { return t.createLog(ctx, e) })
	case cluster.PurgeLog:
		t.runJob(ctx, func(ctx context.Context) input { return t.purgeLog(ctx, e) })
	}
	return err
}

// put stores a value and then publishes why. Events of the former value that are
// not published yet go along, so that none is lost with this leader.
func put[V any, P value[V]](ctx context.Context, t *term, bucket string, b Bucket, into map[string]*cluster.Stored[V], key, name string, v V) error {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.CallTimeout)
	defer cancel()
	why := P(&v).Why()
	news := why.Cause
	why.Former = t.undecodable[bucket+"/"+key]
	if have, ok := into[name]; ok {
		why.Former = have.Version
		why.Cause = append(t.outbox.unpublished(P(&have.Value).Why().Cause), news...)
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
	into[name] = &cluster.Stored[V]{Value: v, Version: version, Former: former}
	for _, e := range news {
		t.publish(e)
	}
	return nil
}

func (t *term) publish(e events.Event) {
	t.log.Info(e.Entity+" "+e.Verb, "about", e.About, "data", string(e.Data))
	t.outbox.add(e)
}

// heartbeat publishes who leads, and which versions are current. It is lost when
// the bus is away; the next one has the same.
func (t *term) heartbeat(now time.Time) []cluster.Effect {
	s := t.state
	_ = t.bus.Publish(events.HeartbeatController, events.ControllerHeartbeat{Controller: t.cfg.ID, Term: t.lease.Token, Sent: now.UTC(),
		Epochs: versions(s.Routes), Tables: versions(s.TableRoutes), Assigned: versions(s.Assigned)})
	return nil
}

func versions[V any](stored map[string]*cluster.Stored[V]) map[string]events.Version {
	all := map[string]events.Version{}
	for name, v := range stored {
		all[name] = v.Version
	}
	return all
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encode: " + err.Error())
	}
	return b
}
