package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"ringway/events"
	"ringway/shard/apply"
	"ringway/shard/storage"
)

// Manager manages one replica: it creates or fills it, runs its applier, and
// reports its state. Each step follows from what the engine has, the route wants
// and the log holds; nothing else is remembered after a failure.
type Manager struct {
	Key    Key
	host   *Host
	log    *slog.Logger
	status status
	copier copier
	digest digester
	last   *Running // whose applier ended
	hole   *events.LogHole

	mu      sync.Mutex
	target  Target
	changed chan struct{}      // closed when target changes
	abandon context.CancelFunc // ends the step that runs; nil: none does
}

// New starts nothing.
func New(host *Host, t Target) *Manager {
	m := &Manager{
		Key: t.key(), host: host, target: t, changed: make(chan struct{}),
		log: host.Log.With(events.KeyTable, t.Spec.Table, events.KeyShard, t.Spec.Shard.ID),
	}
	m.status = status{log: m.log, changed: host.Changed,
		replica: events.ReplicaStatus{Table: m.Key.Table, Shard: m.Key.Shard, State: events.ReplicaOpening}}
	m.copier = copier{host: host, log: m.log, status: &m.status}
	m.digest = digester{host: host, log: m.log, key: m.Key}
	return m
}

// SetTarget takes what the newest route wants.
func (m *Manager) SetTarget(t Target) {
	m.mu.Lock()
	same := m.target.sameReplica(&t)
	m.target = t
	close(m.changed)
	m.changed = make(chan struct{})
	abandon := m.abandon
	m.mu.Unlock()
	switch {
	case same:
		m.status.setResponder(t.Responder)
	case abandon != nil:
		abandon()
	}
}

// Status is the replica's part of a heartbeat.
func (m *Manager) Status() events.ReplicaStatus { return m.status.current() }

// Readable is the replica for one read by somebody who expects that log.
func (m *Manager) Readable(incarnation string) (*Running, error) {
	m.mu.Lock()
	has := m.target.Log.Incarnation
	m.mu.Unlock()
	if has != incarnation {
		return nil, events.StatusErrorf(http.StatusConflict, "shard %s has log %s here, not %s", m.Key.Shard, has, incarnation)
	}
	r, err := m.status.readable()
	if err == nil {
		if at := r.Applied(); at.Incarnation != "" && at.Incarnation != incarnation {
			return nil, events.StatusErrorf(http.StatusServiceUnavailable, "the replica of shard %s is about to go on in log %s", m.Key.Shard, incarnation)
		}
	}
	return r, err
}

// Current is the replica, and what the newest route wants of it.
func (m *Manager) Current() (*Running, Target, error) {
	r, err := m.status.readable()
	return r, m.Target(), err
}

// Target is what the newest route wants.
func (m *Manager) Target() Target {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.target
}

// Run takes step after step until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	engine := m.host.Engine(ctx)
	var applyErr error
	var before Target
	var due time.Time // when what failed is tried again; zero: nothing waits
	speed := newPace(m.host.cfg.RetryMin, m.host.cfg.RetryMax)
	for ctx.Err() == nil {
		m.mu.Lock()
		t, changed := m.target, m.changed
		if !t.sameReplica(&before) {
			applyErr, due, speed = nil, time.Time{}, newPace(m.host.cfg.RetryMin, m.host.cfg.RetryMax)
			m.setHole(nil)
		}
		before = t
		stepCtx, abandon := context.WithCancel(ctx)
		m.abandon = abandon
		m.mu.Unlock()
		done, err := m.takeStep(stepCtx, engine, &t, applyErr, speed, changed)
		abandoned := stepCtx.Err() != nil
		abandon()
		switch {
		case ctx.Err() != nil:
			return
		case abandoned: // another log, or another schema
			continue
		case errors.Is(err, errPaused):
			continue
		case err != nil && done == stepApply:
			applyErr = err
			if hole, ok := errors.AsType[*events.LogHole](err); ok {
				m.log.Error("log is damaged", "from", hole.From, "to", hole.To, events.KeyIncarnation, t.Log.Incarnation)
				m.setHole(hole)
			}
			continue
		case err != nil:
			m.log.Warn("replica cannot go on", "step", done.String(), events.KeyError, err, "again_in", speed.wait)
			state := events.ReplicaHalted
			if errors.Is(err, storage.ErrRetry) {
				state = events.ReplicaOpening
			}
			m.status.setFault(state, err.Error(), err)
		case done != stepRest:
			applyErr, due = nil, time.Time{}
			continue
		}
		if due.IsZero() {
			due = time.Now().Add(speed.wait)
		}
		select {
		case <-ctx.Done():
		case <-changed: // which does not put off what is due
		case <-time.After(time.Until(due)):
			applyErr, due = nil, time.Time{}
			speed.rested()
		}
	}
}

// setHole sets what the log of the replica is known to have lost.
func (m *Manager) setHole(hole *events.LogHole) {
	m.hole = hole
	m.status.setHole(hole)
}

// errPaused: it is too soon for the step, or there is news.
var errPaused = errors.New("paused")

// takeStep takes one step, and returns which.
func (m *Manager) takeStep(ctx context.Context, engine storage.Engine, t *Target, applyErr error, speed *pace, changed <-chan struct{}) (step, error) {
	store, at, err := openReplica(ctx, engine, t)
	if err != nil {
		return stepRest, err
	}
	log := m.host.Logs(t.LogID())
	o := observation{at: at, applyErr: applyErr, hole: m.hole, maxReplaySeq: m.host.cfg.MaxReplaySeq, maxReplayBytes: m.host.cfg.MaxReplayBytes}
	if at == nil {
		o.log, o.logErr = log.State(ctx)
	}
	do, state, detail := next(t, &o)
	if do != stepRest {
		m.status.setRunning(nil)
		seq := uint64(0)
		if at != nil {
			seq = at.Seq
		}
		if pause := time.Until(speed.due(do, seq)); pause > 0 {
			select {
			case <-ctx.Done():
			case <-changed:
			case <-time.After(pause):
			}
			return do, errPaused
		}
		speed.begin(do, time.Now())
	}
	switch do {
	case stepApply: // which sets the state
		return do, m.apply(ctx, store, t)
	case stepCreate:
		if err := checkLogAgainstPeers(ctx, m.host.http, t, log); err != nil {
			m.status.setPosition(nil)
			m.status.set(events.ReplicaWaiting, err.Error())
			return stepRest, nil
		}
		_, err = engine.Create(ctx, t.Spec, t.Log.Incarnation)
	case stepDiscard:
		err = engine.Drop(ctx, m.Key.Table, m.Key.Shard)
	case stepRebase:
		err = store.Rebase(ctx, *at, events.Position{Incarnation: t.Log.Incarnation, Seq: at.Seq, Batch: at.Batch})
		m.log.Info("replica goes on in another log", "at", at.String(), events.KeyIncarnation, t.Log.Incarnation)
	case stepReplace:
		m.status.setPosition(at)
		m.status.set(state, detail)
		if err = m.copier.replace(ctx, engine, t, at, state == events.ReplicaQuarantined); err != nil && ctx.Err() == nil {
			m.log.Warn("replica is not replaced", events.KeyError, err)
			m.status.set(state, err.Error())
			return stepRest, nil
		}
	case stepFill:
		m.status.setPosition(nil)
		m.status.set(state, detail)
		if err = m.copier.fill(ctx, engine, t); err != nil && ctx.Err() == nil {
			m.log.Warn("copying failed", events.KeyError, err)
			m.status.set(events.ReplicaWaiting, err.Error())
			return stepRest, nil
		}
	case stepRest:
		m.status.setPosition(at)
		m.status.setFault(state, detail, applyErr)
		if m.last != nil && at != nil && m.last.Applied() == *at && state == events.ReplicaHalted {
			m.status.setRunning(m.last)
		}
	}
	return do, err
}

// openReplica opens the replica that the engine has; at is nil if there is none
// that is complete.
func openReplica(ctx context.Context, engine storage.Engine, t *Target) (storage.Store, *events.Position, error) {
	store, err := engine.Open(ctx, t.Spec.Table, t.Spec.Shard.ID)
	if errors.Is(err, events.ErrNotFound) || errors.Is(err, storage.ErrCopying) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if has := store.Spec(); has.Shard != t.Spec.Shard || !has.Schema.Equal(&t.Spec.Schema) {
		return nil, nil, fmt.Errorf("the replica that is here has keys %d to %d and columns %v, which is not what the route says", has.Shard.Low, has.Shard.High(), has.Schema.Columns)
	}
	at, err := store.Position(ctx)
	if err != nil {
		return nil, nil, err
	}
	return store, &at, nil
}

// apply runs the applier of the replica until ctx ends or it cannot go on.
func (m *Manager) apply(ctx context.Context, store storage.Store, t *Target) error {
	log, again := m.host.Logs(t.LogID()), make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	cfg := m.host.cfg.Applier
	cfg.Fault = func(err error) {
		if err == nil {
			return
		}
		m.status.set(events.ReplicaCatchingUp, err.Error())
		select {
		case again <- struct{}{}:
		default:
		}
	}
	cfg.Marker = func(batch string) { m.digest.mark(ctx, &work, batch, store) }
	rows := m.host.Cache.Of(t.Spec.Schema)
	cfg.Cache = rows
	r := &Running{Store: store, Rows: rows, applier: apply.New(cfg, store, log, m.host.Bus, m.log), restart: cancel}
	m.mu.Lock()
	r.applier.SetResponder(m.target.Responder)
	m.status.setRunning(r) // SetTarget goes on from here
	m.mu.Unlock()
	work.Go(func() { m.reportReady(ctx, r, log, again) })
	work.Go(func() { m.reportDurable(ctx, r) })
	err := r.applier.Run(ctx)
	cancel()
	work.Wait()
	r.ended.Store(true)
	m.last = r
	at := r.Applied()
	m.status.setPosition(&at)
	m.status.setRunning(nil)
	return err
}

// reportReady sets the state to ready when the replica has applied what the log
// had when it was compared with it, and was then of one history with it. again
// says that the applier had to try again.
func (m *Manager) reportReady(ctx context.Context, r *Running, log Log, again <-chan struct{}) {
	for ctx.Err() == nil {
		at, err := r.Store.Position(ctx)
		var last uint64
		if err == nil {
			last, err = compareWithLog(ctx, log, at)
		}
		if err != nil { // the applier finds out what that means
			select {
			case <-ctx.Done():
			case <-time.After(events.HeartbeatInterval):
			}
			continue
		}
		if r.Applied().Seq < last {
			m.status.set(events.ReplicaCatchingUp, "")
		}
		if r.applier.Wait(ctx, last) != nil {
			return
		}
		select {
		case <-again:
			continue
		default:
			m.status.set(events.ReplicaReady, "")
		}
		select {
		case <-ctx.Done():
		case <-again:
		}
	}
}

// reportDurable finds out what a power cut cannot take back, as long as that
// changes.
func (m *Manager) reportDurable(ctx context.Context, r *Running) {
	tick := time.NewTicker(m.host.cfg.Durable)
	defer tick.Stop()
	lastErr := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		before := r.Applied()
		if m.status.durable() == before {
			continue
		}
		at, err := r.Store.DurableThrough(ctx)
		if err != nil { // a log that is never cut grows: somebody should know why
			if ctx.Err() == nil && err.Error() != lastErr {
				lastErr = err.Error()
				m.log.Warn("what a power cut cannot take back is not known, and the log is not cut", events.KeyError, err)
			}
			continue
		}
		lastErr = ""
		if r.RefuseRolledBack(before, at.Seq) != nil {
			return
		}
		m.status.setDurable(at)
	}
}
