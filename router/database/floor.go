package database

import (
	"context"
	"errors"
	"fmt"
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
	asked  chan struct{} // closed when the bus was asked for it, whatever it said
	closes sync.Once
}

func newFloor() *floor { return &floor{asked: make(chan struct{})} }

func (f *floor) raise(seq uint64) { raise(&f.seq, seq) }

// learned takes the log's last seq; an error is why it is not known yet.
func (f *floor) learned(last uint64, err error) {
	if err == nil {
		f.raise(last)
		f.known.Store(true)
	}
	f.closes.Do(func() { close(f.asked) })
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
		if l == linearizable || !s.floor.known.Load() {
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
	if !s.floor.known.Load() {
		// Without a bus reads go on from what is known.
		patience := time.NewTimer(d.cfg.Learn)
		defer patience.Stop()
		select {
		case <-s.floor.asked:
		case <-patience.C:
		case <-ctx.Done():
		}
	}
	return s.floor.seq.Load(), nil
}

// learnFloors asks the bus for the last seq of each log that is new here,
// until it is known.
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

// learnOnce returns how many are still not known.
func (d *Database) learnOnce(ctx context.Context) int {
	var asking sync.WaitGroup
	var left atomic.Int64
	slots := make(chan struct{}, 16)
	for _, t := range d.tables.Load().all {
		for _, s := range t.shards {
			if s.floor.known.Load() {
				continue
			}
			slots <- struct{}{}
			asking.Go(func() {
				defer func() { <-slots }()
				ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
				defer stop()
				state, err := d.logs.State(ctx, s.log)
				if s.floor.learned(state.Last, err); err != nil {
					left.Add(1)
					d.log.Debug("the end of a log is not known", events.KeyTable, s.log.Table, events.KeyShard, s.ID, events.KeyError, err)
				}
			})
		}
	}
	asking.Wait()
	return int(left.Load())
}
