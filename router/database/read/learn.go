package read

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ringway/events"
	"ringway/router/database/catalog"
)

// Run finds out what was acknowledged in each log that is new to this router,
// until the log itself could be asked.
func (r *Reader) Run(ctx context.Context) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for ctx.Err() == nil {
		if unsettled := r.learnOnce(ctx); unsettled > 0 {
			again.Reset(min(r.cfg.Learn, time.Second))
		}
		select {
		case <-ctx.Done():
		case <-r.catalog.News():
		case <-again.C:
		}
	}
}

// learnOnce returns how many logs could not be asked yet.
func (r *Reader) learnOnce(ctx context.Context) int {
	var unsettled atomic.Int64
	var asking errgroup.Group // without errors: it bounds how many are asked at once
	asking.SetLimit(256)
	for _, t := range r.catalog.Tables().All() {
		for _, s := range t.Shards {
			if s.MinSeq.FromLog() {
				continue
			}
			asking.Go(func() error {
				if r.learnMinSeq(ctx, s); !s.MinSeq.FromLog() {
					unsettled.Add(1)
				}
				return nil
			})
		}
	}
	_ = asking.Wait() // never fails
	return int(unsettled.Load())
}

// learnMinSeq asks the bus, and without one the replicas.
func (r *Reader) learnMinSeq(ctx context.Context, s *catalog.Shard) {
	away := r.learnFromLog(ctx, s)
	if away != nil && s.MinSeq.Complete() {
		return
	}
	err := away
	if away != nil {
		err = r.learnFromReplicas(ctx, s)
	}
	if err != nil {
		err = fmt.Errorf("%w; %w", away, err)
		r.log.Debug("nobody says where reads begin", events.KeyTable, s.Log.Table, events.KeyShard, s.ID, events.KeyError, err)
	}
	s.MinSeq.Settle(err)
}

func (r *Reader) learnFromLog(ctx context.Context, s *catalog.Shard) error {
	ctx, stop := context.WithTimeout(ctx, r.cfg.Learn)
	defer stop()
	state, err := r.logs.State(ctx, s.Log)
	if err == nil {
		s.MinSeq.RaiseFromLog(state.Last)
	}
	return err
}

// learnFromReplicas takes the largest seq that a replica has applied. Whatever was
// acknowledged or shown has been applied by some replica, which the route may not
// call ready any more, so all of them have to answer.
func (r *Reader) learnFromReplicas(ctx context.Context, s *catalog.Shard) error {
	ctx, stop := context.WithTimeout(ctx, r.cfg.Learn)
	defer stop()
	errs := make([]error, len(s.Servers))
	var asking sync.WaitGroup
	for i, server := range s.Servers {
		asking.Go(func() {
			err := errNoAddress
			if replica := s.Replicas[server]; replica != nil {
				err = replica.Wait(ctx, s, 0) // raises the minimum seq
			}
			if err != nil {
				errs[i] = fmt.Errorf("server %s: %w", server, err)
			}
		})
	}
	asking.Wait()
	if len(s.Servers) == 0 {
		return errNotReady
	}
	return cmp.Or(errs...)
}

var errNoAddress = errors.New("it has no address")
