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
	return 0, events.StatusErrorf(400, "%s: %.40q is unknown; use session, eventual or linearizable", consistencyHeader, s)
}

// minSeq is the seq of one life of a log that session reads have to see. It
// never falls, and it is the same for all clients of this router.
type minSeq struct {
	seq    atomic.Uint64
	known  atomic.Bool   // the log's last seq is in it
	whole  atomic.Bool   // all that was acknowledged before this router came is in it
	ended  chan struct{} // closed when it is whole, or only a person can help
	closes sync.Once
	reason atomic.Pointer[error] // why it is not whole
}

func newMinSeq() *minSeq { return &minSeq{ended: make(chan struct{})} }

func (m *minSeq) raise(seq uint64) { raise(&m.seq, seq) }

// settle says that all that was acknowledged is in it, or why that is not known.
func (m *minSeq) settle(reason error) {
	if reason == nil {
		m.whole.Store(true)
	} else {
		m.reason.Store(&reason)
	}
	if reason == nil || errors.Is(reason, events.ErrLogMissing) {
		m.closes.Do(func() { close(m.ended) })
	}
}

// pending is the reason for which it is not whole; nil if it is, or nobody knows.
func (m *minSeq) pending() error {
	reason := m.reason.Load()
	if reason == nil || m.whole.Load() {
		return nil
	}
	return *reason
}

// await returns when the minimum seq is whole.
func (m *minSeq) await(ctx context.Context) error {
	select {
	case <-m.ended:
	case <-ctx.Done():
	}
	if err := m.pending(); err != nil || m.whole.Load() {
		return err
	}
	return context.Cause(ctx)
}

// minimum seqs are the seqs that a read has to see, by shard.
func (d *Database) minSeqs(until time.Time, l level, shards []*shard) ([]uint64, error) {
	minSeqs := make([]uint64, len(shards))
	if l.known(shards, minSeqs) {
		return minSeqs, nil
	}
	// Slow path
	ctx, cancel := d.bounded(time.Until(until))
	defer cancel()
	if l == session { // all wait for others, and till the same moment
		for i, s := range shards {
			var err error
			if minSeqs[i], err = sessionMinSeq(ctx, s); err != nil {
				return nil, err
			}
		}
		return minSeqs, nil
	}
	errs := make([]error, len(shards))
	var all sync.WaitGroup
	for i, s := range shards {
		all.Go(func() { minSeqs[i], errs[i] = d.barrier(ctx, s) })
	}
	all.Wait()
	return minSeqs, errors.Join(errs...)
}

// known tells minimum seqs that need no question; false if one does.
func (l level) known(shards []*shard, minSeqs []uint64) bool {
	if l == eventual {
		return true
	}
	for i, s := range shards {
		if l == linearizable || !s.minSeq.whole.Load() {
			return false
		}
		minSeqs[i] = s.minSeq.seq.Load()
	}
	return true
}

// barrier puts one through the log and returns its seq.
func (d *Database) barrier(ctx context.Context, s *shard) (uint64, error) {
	barrier, err := d.writer.Do(ctx, s.log, &events.Op{Kind: events.OpBarrier})
	if err != nil {
		return 0, fmt.Errorf("shard %s: no barrier: %w", s.ID, err)
	}
	s.minSeq.raise(barrier.Seq)
	return barrier.Seq, nil
}

// sessionMinSeq waits until it is known what was acknowledged before this router
// started.
func sessionMinSeq(ctx context.Context, s *shard) (uint64, error) {
	if err := s.minSeq.await(ctx); err != nil {
		return 0, fmt.Errorf("shard %s: neither the bus nor all replicas say what was acknowledged before this router started: %w; %s: eventual reads what is at hand", s.ID, err, consistencyHeader)
	}
	return s.minSeq.seq.Load(), nil
}
