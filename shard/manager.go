package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
	"ringway/shard/apply"
	"ringway/shard/rowcache"
	"ringway/shard/storage"
)

// manager manages one replica: it creates or fills it, runs its applier, and
// reports its state. Each step follows from what the engine has, the route wants
// and the log holds; nothing else is remembered after a failure.
type manager struct {
	s           *Server
	key         shardKey
	logger      *slog.Logger
	stop        context.CancelFunc
	ended       chan struct{}   // closed when run has returned
	after       <-chan struct{} // of the manager before; nil: there was none
	quarantined events.Position // of what was quarantined last; for run alone

	mu      sync.Mutex
	target  target
	changed chan struct{}      // closed when target changes
	leave   context.CancelFunc // ends the step that runs for another target
	status  events.ReplicaStatus
	here    *replica // nil: there is nothing to read
}

// replica is what can be read while an applier keeps it up to date.
type replica struct {
	store   storage.Store
	rows    *rowcache.Rows
	applier *apply.Applier
	leave   func() // has the manager open the replica again
}

func newManager(s *Server, key shardKey, t target) *manager {
	return &manager{
		s: s, key: key, target: t, ended: make(chan struct{}), changed: make(chan struct{}),
		logger: s.log.With(events.KeyTable, key.table, events.KeyShard, key.shard),
		status: events.ReplicaStatus{Table: key.table, Shard: key.shard, State: events.ReplicaOpening},
	}
}

// setTarget takes what the newest route wants.
func (m *manager) setTarget(t target) {
	m.mu.Lock()
	same := m.target.same(&t)
	m.target = t
	close(m.changed)
	m.changed = make(chan struct{})
	leave, here := m.leave, m.here
	m.mu.Unlock()
	switch {
	case !same && leave != nil:
		leave()
	case same && here != nil:
		here.applier.SetResponder(t.responder)
	}
}

// run goes from step to step until ctx ends.
func (m *manager) run(ctx context.Context) {
	defer close(m.ended)
	if m.after != nil {
		<-m.after
	}
	engine := m.s.engine.get(ctx)
	var applyErr error
	var before target
	var due time.Time // when what failed is tried again; zero: nothing waits
	wait := m.s.cfg.RetryMin
	for ctx.Err() == nil {
		m.mu.Lock()
		t, changed := m.target, m.changed
		if !t.same(&before) {
			applyErr, due, wait = nil, time.Time{}, m.s.cfg.RetryMin
		}
		before = t
		stepCtx, leave := context.WithCancel(ctx)
		m.leave = leave
		m.mu.Unlock()
		done, err := m.takeStep(stepCtx, engine, &t, applyErr)
		left := stepCtx.Err() != nil
		leave()
		switch {
		case ctx.Err() != nil:
			return
		case left: // another log, or another schema
			continue
		case err != nil && done == stepApply:
			applyErr = err
			continue
		case err != nil:
			m.logger.Warn("replica cannot go on", "step", done.String(), events.KeyError, err, "again_in", wait)
			state := events.ReplicaHalted
			if errors.Is(err, storage.ErrRetry) {
				state = events.ReplicaOpening
			}
			m.setState(state, err.Error())
		case done != stepRest:
			applyErr, due, wait = nil, time.Time{}, m.s.cfg.RetryMin
			continue
		}
		if due.IsZero() {
			due = time.Now().Add(wait)
		}
		select {
		case <-ctx.Done():
		case <-changed: // which does not put off what is due
		case <-time.After(time.Until(due)):
			applyErr, due, wait = nil, time.Time{}, min(2*wait, m.s.cfg.RetryMax)
		}
	}
}

// takeStep takes one step, and returns which.
func (m *manager) takeStep(ctx context.Context, engine storage.Engine, t *target, applyErr error) (step, error) {
	store, at, err := openReplica(ctx, engine, t)
	if err != nil {
		return stepRest, err
	}
	observation := observation{at: at, applyErr: applyErr, maxReplaySeq: m.s.cfg.MaxReplaySeq, maxReplayBytes: m.s.cfg.MaxReplayBytes}
	if at == nil {
		observation.log, observation.logErr = m.s.logs(t.logID()).State(ctx)
	}
	do, state, detail := next(t, &observation)
	switch do {
	case stepApply: // which sets the state
		return do, m.apply(ctx, store, t)
	case stepCreate:
		if err := m.checkLogAgainstPeers(ctx, t, m.s.logs(t.logID())); err != nil {
			m.setPosition(nil)
			m.setState(events.ReplicaWaiting, err.Error())
			return stepRest, nil
		}
		_, err = engine.Create(ctx, t.spec, t.log.Incarnation)
	case stepDiscard:
		err = engine.Drop(ctx, m.key.table, m.key.shard)
	case stepRebase:
		err = store.Rebase(ctx, *at, events.Position{Incarnation: t.log.Incarnation, Seq: at.Seq, Batch: at.Batch})
		m.logger.Info("replica goes on in another log", "at", at.String(), events.KeyIncarnation, t.log.Incarnation)
	case stepReplace:
		m.setPosition(at)
		m.setState(state, detail)
		if err = m.replace(ctx, engine, t, at, state == events.ReplicaQuarantined); err != nil && ctx.Err() == nil {
			m.logger.Warn("replica is not replaced", events.KeyError, err)
			m.setState(state, err.Error())
			return stepRest, nil
		}
	case stepFill:
		m.setPosition(nil)
		m.setState(state, detail)
		if err = m.fill(ctx, engine, t); err != nil && ctx.Err() == nil {
			m.logger.Warn("copying failed", events.KeyError, err)
			m.setState(events.ReplicaWaiting, err.Error())
			return stepRest, nil
		}
	case stepRest:
		m.setPosition(at)
		m.setState(state, detail)
	}
	return do, err
}

// look finds the replica that the engine has; at is nil if there is none that
// is whole.
func openReplica(ctx context.Context, engine storage.Engine, t *target) (storage.Store, *events.Position, error) {
	store, err := engine.Open(ctx, t.spec.Table, t.spec.Shard.ID)
	if errors.Is(err, events.ErrNotFound) || errors.Is(err, storage.ErrCopying) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if has := store.Spec(); has.Shard != t.spec.Shard || !has.Schema.Equal(&t.spec.Schema) {
		return nil, nil, fmt.Errorf("the replica that is here has keys %d to %d and columns %v, which is not what the route says", has.Shard.Low, has.Shard.High(), has.Schema.Columns)
	}
	at, err := store.Position(ctx)
	if err != nil {
		return nil, nil, err
	}
	return store, &at, nil
}

// apply has the replica applied until ctx ends or it cannot go on.
func (m *manager) apply(ctx context.Context, store storage.Store, t *target) error {
	log, again := m.s.logs(t.logID()), make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	cfg := m.s.cfg.Applier
	cfg.Fault = func(err error) {
		if err != nil {
			m.setState(events.ReplicaCatchingUp, err.Error())
			notify(again)
		}
	}
	cfg.Marker = func(batch string) { m.mark(ctx, &work, batch, store) }
	rows := m.s.cache.Of(t.spec.Schema)
	cfg.Cache = rows
	applier := apply.New(cfg, store, log, m.s.bus, m.logger)
	m.mu.Lock()
	applier.SetResponder(m.target.responder)
	here := &replica{store, rows, applier, cancel}
	m.here = here
	m.mu.Unlock()
	work.Go(func() { m.watch(ctx, store, log, applier, again) })
	work.Go(func() { m.sync(ctx, here) })
	err := applier.Run(ctx)
	cancel()
	work.Wait()
	at := applier.Applied()
	m.setPosition(&at)
	m.mu.Lock()
	m.here = nil
	m.mu.Unlock()
	return err
}

// watch says that the replica is ready when it has applied what the log had
// when it was looked at, and was then of one history with it.
func (m *manager) watch(ctx context.Context, store storage.Store, log Log, applier *apply.Applier, again <-chan struct{}) {
	for ctx.Err() == nil {
		last, err := m.compare(ctx, store, log)
		if err != nil {
			pause(ctx, events.HeartbeatInterval) // the applier finds out what that means
			continue
		}
		if applier.Applied().Seq < last {
			m.setState(events.ReplicaCatchingUp, "")
		}
		if applier.Wait(ctx, last) != nil {
			return
		}
		select {
		case <-again:
			continue // there is trouble
		default:
			m.setState(events.ReplicaReady, "")
		}
		select {
		case <-ctx.Done():
		case <-again:
		}
	}
}

func (m *manager) compare(ctx context.Context, store storage.Store, log Log) (last uint64, err error) {
	at, err := store.Position(ctx)
	if err != nil {
		return 0, err
	}
	return compareWithLog(ctx, log, at)
}

// agrees tells how far a log goes that has what a replica at that position has
// applied, as far as can be seen.
func compareWithLog(ctx context.Context, log Log, at events.Position) (last uint64, err error) {
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
func (m *manager) sync(ctx context.Context, here *replica) {
	tick := time.NewTicker(m.s.cfg.Durable)
	defer tick.Stop()
	lastErr := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := here.applier.Applied()
		m.mu.Lock()
		known := m.status.Durable == before
		m.mu.Unlock()
		if known {
			continue
		}
		at, err := here.store.DurableThrough(ctx)
		if err != nil { // a log that is never cut grows: somebody should know why
			if ctx.Err() == nil && err.Error() != lastErr {
				lastErr = err.Error()
				m.logger.Warn("what a power cut cannot take back is not known, and the log is not cut", events.KeyError, err)
			}
			continue
		}
		lastErr = ""
		if here.refuseRolledBack(before, at.Seq) != nil {
			return
		}
		m.mu.Lock()
		m.status.Durable = at
		m.mu.Unlock()
	}
}
