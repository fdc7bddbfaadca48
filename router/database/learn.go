package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ringway/events"
)

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
	var left atomic.Int64
	var asking sync.WaitGroup
	turns := make(chan struct{}, 256)
	for _, t := range d.tables.Load().all {
		for _, s := range t.shards {
			if s.floor.known.Load() {
				continue
			}
			turns <- struct{}{}
			asking.Go(func() {
				defer func() { <-turns }()
				if d.learnFloor(ctx, s); !s.floor.known.Load() {
					left.Add(1)
				}
			})
		}
	}
	asking.Wait()
	return int(left.Load())
}

// learnFloor asks the bus, and without one the replicas.
func (d *Database) learnFloor(ctx context.Context, s *shard) {
	away := d.learnFromLog(ctx, s)
	if away != nil && s.floor.whole.Load() {
		return
	}
	err := away
	if away != nil {
		err = d.learnFromReplicas(ctx, s)
	}
	if err != nil {
		err = fmt.Errorf("%w; %w", away, err)
		d.log.Debug("nobody says where reads begin", events.KeyTable, s.log.Table, events.KeyShard, s.ID, events.KeyError, err)
	}
	s.floor.fill(err)
}

func (d *Database) learnFromLog(ctx context.Context, s *shard) error {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
	defer stop()
	state, err := d.logs.State(ctx, s.log)
	if err == nil {
		s.floor.raise(state.Last)
		s.floor.known.Store(true)
	}
	return err
}

// learnFromReplicas takes the largest seq that a replica has applied. What was
// acknowledged or shown some replica has applied, and it may be one that the
// route does not call ready any more: so each of them has to say it.
func (d *Database) learnFromReplicas(ctx context.Context, s *shard) error {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
	defer stop()
	errs := make([]error, len(s.named))
	var asking sync.WaitGroup
	for i, server := range s.named {
		asking.Go(func() {
			err := errNoAddress
			if r := s.replicas[server]; r != nil {
				err = d.seen(ctx, s, r, 0) // raises the floor
			}
			if err != nil {
				errs[i] = fmt.Errorf("server %s: %w", server, err)
			}
		})
	}
	asking.Wait()
	if len(s.named) == 0 {
		return errNotReady
	}
	return cmp.Or(errs...)
}

var errNoAddress = errors.New("it has no address")
