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

// learnMinSeqs finds out what was acknowledged in each log that is new here,
// until the log itself has said so.
func (d *Database) learnMinSeqs(ctx context.Context) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		if unsettled := d.learnOnce(ctx); unsettled > 0 {
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
	var unsettled atomic.Int64
	var asking sync.WaitGroup
	sem := make(chan struct{}, 256)
	for _, t := range d.tables.Load().all {
		for _, s := range t.shards {
			if s.minSeq.known.Load() {
				continue
			}
			sem <- struct{}{}
			asking.Go(func() {
				defer func() { <-sem }()
				if d.learnMinSeq(ctx, s); !s.minSeq.known.Load() {
					unsettled.Add(1)
				}
			})
		}
	}
	asking.Wait()
	return int(unsettled.Load())
}

// learnMinSeq asks the bus, and without one the replicas.
func (d *Database) learnMinSeq(ctx context.Context, s *shard) {
	away := d.learnFromLog(ctx, s)
	if away != nil && s.minSeq.whole.Load() {
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
	s.minSeq.settle(err)
}

func (d *Database) learnFromLog(ctx context.Context, s *shard) error {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Learn)
	defer stop()
	state, err := d.logs.State(ctx, s.log)
	if err == nil {
		s.minSeq.raise(state.Last)
		s.minSeq.known.Store(true)
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
				err = d.seen(ctx, s, r, 0) // raises the minimum seq
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
