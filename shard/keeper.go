package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
)

// keeper keeps one replica: it makes or fills it, has it applied, and says how
// it is. It goes by what the engine has, the route wants and the log holds,
// and remembers nothing else over a failure.
type keeper struct {
	s     *Server
	key   shardKey
	say   *slog.Logger
	stop  context.CancelFunc
	ended chan struct{}   // closed when run has returned
	after <-chan struct{} // of the keeper before; nil: there was none
	aside events.Position // of what was set aside last; for run alone

	mu     sync.Mutex
	aim    aim
	news   chan struct{}      // closed when aim changes
	leave  context.CancelFunc // ends what runs for an aim that is not pursued any more
	status events.ReplicaStatus
	here   *replica // nil: there is nothing to read
}

// replica is what can be read while an applier keeps it up to date.
type replica struct {
	store   Store
	rows    *cachedRows
	applier *Applier
	leave   func() // has the keeper look anew at what is here
}

func newKeeper(s *Server, key shardKey, a aim) *keeper {
	return &keeper{
		s: s, key: key, aim: a, ended: make(chan struct{}), news: make(chan struct{}),
		say:    s.log.With(events.KeyTable, key.table, events.KeyShard, key.shard),
		status: events.ReplicaStatus{Table: key.table, Shard: key.shard, State: events.ReplicaOpening},
	}
}

// aimAt takes what the newest route wants.
func (k *keeper) aimAt(a aim) {
	k.mu.Lock()
	same := k.aim.same(&a)
	k.aim = a
	close(k.news)
	k.news = make(chan struct{})
	leave, here := k.leave, k.here
	k.mu.Unlock()
	switch {
	case !same && leave != nil:
		leave()
	case same && here != nil:
		here.applier.SetResponder(a.eager)
	}
}

// run goes from step to step until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer close(k.ended)
	if k.after != nil {
		<-k.after
	}
	engine := k.s.engine.get(ctx)
	var verdict error
	var before aim
	var due time.Time // when what failed is tried again; zero: nothing waits
	wait := k.s.cfg.RetryMin
	for ctx.Err() == nil {
		k.mu.Lock()
		a, news := k.aim, k.news
		if !a.same(&before) {
			verdict, due, wait = nil, time.Time{}, k.s.cfg.RetryMin
		}
		before = a
		pursuit, leave := context.WithCancel(ctx)
		k.leave = leave
		k.mu.Unlock()
		done, err := k.once(pursuit, engine, &a, verdict)
		left := pursuit.Err() != nil
		leave()
		switch {
		case ctx.Err() != nil:
			return
		case left: // another log, or another schema
			continue
		case err != nil && done == apply:
			verdict = err
			continue
		case err != nil:
			k.say.Warn("replica cannot go on", "step", done.String(), events.KeyError, err, "again_in", wait)
			state := events.ReplicaHalted
			if errors.Is(err, ErrRetry) {
				state = events.ReplicaOpening
			}
			k.tell(state, err.Error())
		case done != rest:
			verdict, due, wait = nil, time.Time{}, k.s.cfg.RetryMin
			continue
		}
		if due.IsZero() {
			due = time.Now().Add(wait)
		}
		select {
		case <-ctx.Done():
		case <-news: // which does not put off what is due
		case <-time.After(time.Until(due)):
			verdict, due, wait = nil, time.Time{}, min(2*wait, k.s.cfg.RetryMax)
		}
	}
}

// once takes one step, and tells which.
func (k *keeper) once(ctx context.Context, engine Engine, a *aim, verdict error) (step, error) {
	store, at, err := look(ctx, engine, a)
	if err != nil {
		return rest, err
	}
	standing := standing{at: at, verdict: verdict, short: k.s.cfg.ReplayMost, small: k.s.cfg.ReplaySize}
	if at == nil {
		standing.log, standing.logErr = k.s.logs(a.logID()).State(ctx)
	}
	do, state, detail := next(a, &standing)
	switch do {
	case apply: // it says itself how it is
		return do, k.apply(ctx, store, a)
	case create:
		if err := k.doubt(ctx, a, k.s.logs(a.logID())); err != nil {
			k.place(nil)
			k.tell(events.ReplicaWaiting, err.Error())
			return rest, nil
		}
		_, err = engine.Create(ctx, a.spec, a.log.Incarnation)
	case discard:
		err = engine.Drop(ctx, k.key.table, k.key.shard)
	case rebase:
		err = store.Rebase(ctx, *at, events.Position{Incarnation: a.log.Incarnation, Seq: at.Seq, Batch: at.Batch})
		k.say.Info("replica goes on in another log", "at", at.String(), events.KeyIncarnation, a.log.Incarnation)
	case replace:
		k.place(at)
		k.tell(state, detail)
		if err = k.replace(ctx, engine, a, at, state == events.ReplicaQuarantined); err != nil && ctx.Err() == nil {
			k.say.Warn("replica is not replaced", events.KeyError, err)
			k.tell(state, err.Error())
			return rest, nil
		}
	case fill:
		k.place(nil)
		k.tell(state, detail)
		if err = k.fill(ctx, engine, a); err != nil && ctx.Err() == nil {
			k.say.Warn("copying failed", events.KeyError, err)
			k.tell(events.ReplicaWaiting, err.Error())
			return rest, nil
		}
	case rest:
		k.place(at)
		k.tell(state, detail)
	}
	return do, err
}

// look finds the replica that the engine has; at is nil if there is none that
// is whole.
func look(ctx context.Context, engine Engine, a *aim) (Store, *events.Position, error) {
	store, err := engine.Open(ctx, a.spec.Table, a.spec.Shard.ID)
	if errors.Is(err, events.ErrNotFound) || errors.Is(err, ErrCopying) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if has := store.Spec(); has.Shard != a.spec.Shard || !has.Schema.Equal(&a.spec.Schema) {
		return nil, nil, fmt.Errorf("the replica that is here has keys %d to %d and columns %v, which is not what the route says", has.Shard.Low, has.Shard.High(), has.Schema.Columns)
	}
	at, err := store.Position(ctx)
	if err != nil {
		return nil, nil, err
	}
	return store, &at, nil
}

// apply has the replica applied until ctx ends or it cannot go on.
func (k *keeper) apply(ctx context.Context, store Store, a *aim) error {
	log, again := k.s.logs(a.logID()), make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	cfg := k.s.cfg.Applier
	cfg.Fault = func(err error) {
		if err != nil {
			k.tell(events.ReplicaCatchingUp, err.Error())
			poke(again)
		}
	}
	cfg.Marker = func(batch string) { k.mark(ctx, &work, batch, store) }
	rows := &cachedRows{cache: k.s.cache, schema: a.spec.Schema}
	cfg.Mirror = rows
	applier := NewApplier(cfg, store, log, k.s.bus, k.say)
	k.mu.Lock()
	applier.SetResponder(k.aim.eager)
	here := &replica{store, rows, applier, cancel}
	k.here = here
	k.mu.Unlock()
	work.Go(func() { k.watch(ctx, store, log, applier, again) })
	work.Go(func() { k.sync(ctx, here) })
	err := applier.Run(ctx)
	cancel()
	work.Wait()
	at := applier.Applied()
	k.place(&at)
	k.mu.Lock()
	k.here = nil
	k.mu.Unlock()
	return err
}

// watch says that the replica is ready when it has applied what the log had
// when it was looked at, and was then of one history with it.
func (k *keeper) watch(ctx context.Context, store Store, log Log, applier *Applier, again <-chan struct{}) {
	for ctx.Err() == nil {
		last, err := k.compare(ctx, store, log)
		if err != nil {
			pause(ctx, events.HeartbeatInterval) // the applier finds out what that means
			continue
		}
		if applier.Applied().Seq < last {
			k.tell(events.ReplicaCatchingUp, "")
		}
		if applier.Wait(ctx, last) != nil {
			return
		}
		select {
		case <-again:
			continue // there is trouble
		default:
			k.tell(events.ReplicaReady, "")
		}
		select {
		case <-ctx.Done():
		case <-again:
		}
	}
}

func (k *keeper) compare(ctx context.Context, store Store, log Log) (last uint64, err error) {
	at, err := store.Position(ctx)
	if err != nil {
		return 0, err
	}
	return agrees(ctx, log, at)
}

// agrees tells how far a log goes that has what a replica at that position has
// applied, as far as can be seen.
func agrees(ctx context.Context, log Log, at events.Position) (last uint64, err error) {
	s, err := log.State(ctx)
	switch {
	case err != nil:
		return 0, err
	case at.Seq > s.Last:
		return 0, fmt.Errorf("%w: it ends at %d, before %s", events.ErrLogForeign, s.Last, at)
	case at.Seq+1 < s.First:
		return 0, fmt.Errorf("%w: it begins at %d, beyond %s", events.ErrLogPurged, s.First, at)
	case at.Seq < s.First:
		return s.Last, nil
	}
	_, data, err := log.Get(ctx, at.Seq)
	if errors.Is(err, events.ErrNotFound) {
		return s.Last, nil // purged a moment ago
	}
	if err != nil {
		return 0, err
	}
	if b, err := events.DecodeBatch(data); err != nil || b.ID != at.Batch {
		return 0, fmt.Errorf("%w: it has %q at %s", events.ErrLogForeign, b.ID, at)
	}
	return s.Last, nil
}

// sync finds out what a power cut cannot take back, as long as that changes.
func (k *keeper) sync(ctx context.Context, here *replica) {
	tick := time.NewTicker(k.s.cfg.Durable)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := here.applier.Applied()
		k.mu.Lock()
		known := k.status.Durable == before
		k.mu.Unlock()
		if known {
			continue
		}
		at, err := here.store.DurableThrough(ctx)
		if err != nil { // a log that is never cut grows: somebody should know why
			if ctx.Err() == nil && err.Error() != said {
				said = err.Error()
				k.say.Warn("what a power cut cannot take back is not known, and the log is not cut", events.KeyError, err)
			}
			continue
		}
		said = ""
		if here.wentBack(before, at.Seq) != nil {
			return
		}
		k.mu.Lock()
		k.status.Durable = at
		k.mu.Unlock()
	}
}
