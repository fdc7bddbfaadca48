package read

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ringway/router/database/catalog"
	"ringway/router/database/shardclient"
)

// scan reads the rows of one shard from low to high, ahead of who takes
// them, but not further than cfg.Prefetch. As long as nothing was taken it may
// begin anew at another replica.
type scan struct {
	reader    *Reader
	shard     *catalog.Shard
	minSeq    uint64
	low, high int64
	only      *catalog.Replica // nil: any

	before, after []byte // around its rows in the answer
	started       bool
	begun         bool // some of its rows are in the answer

	mu    sync.Mutex
	rows  []byte // with commas between them
	taken bool   // some were handed out
	ended bool
	err   error
	moved chan struct{} // poked when rows or ended changed
	space chan struct{} // poked when rows were taken
}

func (r *Reader) newScan(s *catalog.Shard, minSeq uint64, low, high int64, only *catalog.Replica) *scan {
	return &scan{
		reader: r, shard: s, minSeq: minSeq, low: low, high: high, only: only,
		moved: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
}

// run reads until the end, a fault that no other replica can mend, or the end
// of ctx.
func (s *scan) run(ctx context.Context) {
	err := s.anyReplica(ctx)
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	notify(s.moved)
}

func (s *scan) anyReplica(ctx context.Context) error {
	order := []*catalog.Replica{s.only}
	if s.only == nil {
		order = s.shard.Choices(time.Now())
	}
	failed := errNotReady
	for until := time.Now().Add(s.reader.cfg.Timeout); len(order) > 0 && time.Now().Before(until); {
		var a answering
		a, order = s.first(ctx, order)
		if a.err == nil {
			a.err = s.copy(ctx, a)
		}
		a.close()
		if a.err == nil || ctx.Err() != nil {
			return a.err
		}
		failed = fmt.Errorf("server %s: %w", a.replica.Server, a.err)
		s.failed(a.replica)
		if !s.rewind() {
			return fmt.Errorf("%w: shard %s: %w", errIncomplete, s.shard.ID, failed)
		}
	}
	return fmt.Errorf("shard %s: %w", s.shard.ID, failed)
}

// failed makes the other replicas the first choices for a while.
func (s *scan) failed(r *catalog.Replica) {
	if s.only == nil {
		r.Failed(time.Now())
		s.reader.metrics.failed.WithLabelValues(s.shard.Log.Table).Inc()
	}
}

// answering is a replica that begins to answer, or its error.
type answering struct {
	replica *catalog.Replica
	rows    *shardclient.Rows
	err     error
	stop    context.CancelFunc // ends the question
}

func (a answering) close() {
	if a.rows != nil {
		a.rows.Close()
	}
	a.stop()
}

// first asks the first of order, and the next one too each time that nobody
// begins to answer within cfg.Hedge. The first answer counts, or the last
// error. The rest can still be asked.
func (s *scan) first(ctx context.Context, order []*catalog.Replica) (a answering, rest []*catalog.Replica) {
	answers := make(chan answering, len(order))
	open := map[*catalog.Replica]context.CancelFunc{}
	ask := func() (r *catalog.Replica) {
		r, order = order[0], order[1:]
		s.reader.metrics.mayWait(r, s.minSeq)
		asking, stop := context.WithCancel(ctx)
		open[r] = stop
		go func() {
			rows, err := r.Client.Rows(asking, s.shard.Log, s.minSeq, s.low, s.high)
			answers <- answering{r, rows, err, stop}
		}()
		return r
	}
	late := time.NewTicker(s.reader.hedge)
	defer late.Stop()
	for last := ask(); ; {
		select {
		case a = <-answers:
			delete(open, a.replica)
			if a.err != nil && len(open) > 0 {
				a.close()
				s.failed(a.replica)
				continue
			}
		case now := <-late.C:
			if len(order) > 0 {
				last.Failed(now)
				s.reader.metrics.hedged.Inc()
				last = ask()
			}
			continue
		}
		for r, stop := range open {
			stop()
			order = append(order, r) // slow, but perhaps the last that is left
		}
		for range open {
			(<-answers).close()
		}
		return a, order
	}
}

// errIncomplete is a fault in the middle of what was handed out.
var errIncomplete = errors.New("a part of the answer is missing")

// rewind forgets what was read; false if some of it was taken.
func (s *scan) rewind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = s.rows[:0]
	return !s.taken
}

// copy takes over the rows of an answer.
func (s *scan) copy(ctx context.Context, a answering) error {
	for first := true; ; first = false {
		row, err := a.rows.Next()
		if errors.Is(err, io.EOF) {
			a.replica.Answered(a.rows.Seq())
			s.shard.MinSeq.Raise(a.rows.Seq())
			return nil
		}
		if err != nil {
			return err
		}
		s.shard.MinSeq.Raise(a.rows.Seq()) // before a client sees a row
		if err := s.put(ctx, row, first); err != nil {
			return err
		}
	}
}

// put adds a row when there is room for it.
func (s *scan) put(ctx context.Context, row []byte, first bool) error {
	for {
		s.mu.Lock()
		if len(s.rows) == 0 || len(s.rows)+len(row) < s.reader.cfg.Prefetch {
			if !first {
				s.rows = append(s.rows, ',')
			}
			s.rows = append(s.rows, row...)
			s.mu.Unlock()
			notify(s.moved)
			return nil
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.space:
		}
	}
}

// take waits for rows and swaps them for an empty buffer; io.EOF at the end.
func (s *scan) take(ctx context.Context, empty []byte) ([]byte, error) {
	for {
		s.mu.Lock()
		if rows := s.rows; len(rows) > 0 {
			s.rows, s.taken = empty[:0], true
			s.mu.Unlock()
			notify(s.space)
			return rows, nil
		}
		ended, err := s.ended, s.err
		s.mu.Unlock()
		if ended && err == nil {
			err = io.EOF
		}
		if ended {
			return empty, err
		}
		select {
		case <-ctx.Done():
			return empty, context.Cause(ctx)
		case <-s.moved:
		}
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
