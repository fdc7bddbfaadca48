package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
)

// level is what a client may rely on when it reads.
type level int

const (
	// session, the default: a read sees every write that this router
	// acknowledged, whatever was in the log when the router first saw it, and
	// nothing older than what this router showed before.
	session level = iota
	// eventual: some state that once was, the newest that is at hand.
	eventual
	// linearizable: every write that anybody was told of before the read began.
	linearizable
)

// consistencyHeader is how a client asks for a level.
const consistencyHeader = "Ringway-Consistency"

func parseLevel(s []byte) (level, error) {
	switch string(s) {
	case "", "session":
		return session, nil
	case "eventual":
		return eventual, nil
	case "linearizable":
		return linearizable, nil
	}
	return 0, events.Refuse(400, "%s: %.40q is unknown; use session, eventual or linearizable", consistencyHeader, s)
}

// floor is the seq of one life of a log that session reads have to see. It
// never falls, and it is the same for all clients of this router.
type floor struct {
	seq    atomic.Uint64
	known  atomic.Bool   // the log's last seq is in it
	whole  atomic.Bool   // all that was acknowledged before this router came is in it
	filled chan struct{} // closed when it is whole
	closes sync.Once
	doubt  atomic.Pointer[error] // why it is not whole
}

func newFloor() *floor { return &floor{filled: make(chan struct{})} }

func (f *floor) raise(seq uint64) { raise(&f.seq, seq) }

// fill says that all that was acknowledged is in it, or why that is not known.
func (f *floor) fill(doubt error) {
	if doubt != nil {
		f.doubt.Store(&doubt)
		return
	}
	f.whole.Store(true)
	f.closes.Do(func() { close(f.filled) })
}

// await returns when the floor is whole.
func (f *floor) await(ctx context.Context) error {
	select {
	case <-f.filled:
		return nil
	case <-ctx.Done():
	}
	if doubt := f.doubt.Load(); doubt != nil {
		return *doubt
	}
	return context.Cause(ctx)
}

// floors are the seqs that a read has to see, by shard.
func (d *Database) floors(until time.Time, l level, shards []*shard) ([]uint64, error) {
	floors := make([]uint64, len(shards))
	if l.atHand(shards, floors) {
		return floors, nil
	}
	// Slow path
	ctx, cancel := d.bounded(time.Until(until))
	defer cancel()
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() { floors[i], errs[i] = d.floorOf(ctx, l, s) })
	}
	all.Wait()
	return floors, errors.Join(errs...)
}

// atHand tells floors that need no question; false if one does.
func (l level) atHand(shards []*shard, floors []uint64) bool {
	if l == eventual {
		return true
	}
	for i, s := range shards {
		if l == linearizable || !s.floor.whole.Load() {
			return false
		}
		floors[i] = s.floor.seq.Load()
	}
	return true
}

// floorOf is the seq that a read of a shard has to see, of a level that has one.
func (d *Database) floorOf(ctx context.Context, l level, s *shard) (uint64, error) {
	if l == linearizable {
		barrier, err := d.writer.Do(ctx, s.log, &events.Op{Kind: events.OpBarrier})
		if err != nil {
			return 0, fmt.Errorf("shard %s: no barrier: %w", s.ID, err)
		}
		s.floor.raise(barrier.Seq)
		return barrier.Seq, nil
	}
	if err := s.floor.await(ctx); err != nil {
		return 0, fmt.Errorf("shard %s: neither the bus nor all replicas say what was acknowledged before this router started: %w; %s: eventual reads what is at hand", s.ID, err, consistencyHeader)
	}
	return s.floor.seq.Load(), nil
}

// learnFloors finds out what was acknowledged in each log that is new here,
// until the log itself has said so.
func (d *Database) learnFloors(ctx context.Context) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		if left := d.learnOnce(ctx); left > 0 {
			again.Reset(min(d.cfg.Learn, time.Second))
		}
		select {
		case <-ctx.Done():
		case <-d.learn:
		case <-again.C:
		}
	}
}

// learnOnce returns how many logs have still not said it.
func (d *Database) learnOnce(ctx context.Context) int {
	var shards []*shard
	for _, t := range d.tables.Load().all {
		for _, s := range t.shards {
			if !s.floor.known.Load() {
				shards = append(shards, s)
			}
		}
	}
	eachOf(shards, 256, func(s *shard) { d.learnFromLog(ctx, s) })
	shards = slices.DeleteFunc(shards, func(s *shard) bool { return s.floor.known.Load() })
	eachOf(shards, 32, func(s *shard) { d.learnFromReplicas(ctx, s) })
	return len(shards)
}

func (d *Database) learnFromLog(ctx context.Context, s *shard) {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
	defer stop()
	state, err := d.logs.State(ctx, s.log)
	if err != nil {
		d.log.Debug("the end of a log is not known", events.KeyTable, s.log.Table, events.KeyShard, s.ID, events.KeyError, err)
		return
	}
	s.floor.raise(state.Last)
	s.floor.known.Store(true)
	s.floor.fill(nil)
}

// learnFromReplicas does without a bus: what was acknowledged or shown, some
// replica has applied. Each that the route calls ready has to say how far it
// is, or each of all where none is.
func (d *Database) learnFromReplicas(ctx context.Context, s *shard) {
	if s.floor.whole.Load() {
		return
	}
	all := slices.Concat(s.ready, s.others)
	if len(all) == 0 {
		s.floor.fill(errNotReady)
		return
	}
	ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
	defer stop()
	errs := make([]error, len(all))
	var asking sync.WaitGroup
	for i, r := range all {
		asking.Go(func() {
			if err := d.seen(ctx, s, r, 0); err != nil { // raises the floor
				errs[i] = fmt.Errorf("server %s: %w", r.server, err)
			}
		})
	}
	asking.Wait()
	if len(s.ready) > 0 {
		errs = errs[:len(s.ready)]
	}
	s.floor.fill(cmp.Or(errs...))
}

// eachOf does something for all shards, some at a time.
func eachOf(shards []*shard, atOnce int, do func(*shard)) {
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for _, s := range shards {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			do(s)
		})
	}
	all.Wait()
}
