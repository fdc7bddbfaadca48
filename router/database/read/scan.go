package read

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"ringway/internal/notify"
	"ringway/router/database/catalog"
	"ringway/router/database/hedge"
	"ringway/router/database/shardclient"
)

// scan reads the rows of one shard from low to high, at most cfg.Prefetch bytes
// ahead of take. As long as nothing was taken it can start over at another
// replica.
type scan struct {
	reader    *Reader
	shard     *catalog.Shard
	minSeq    uint64
	low, high int64
	only      *catalog.Replica // nil: any
	bound     *bound           // nil: none; good once the scan has ended

	started bool
	begun   bool // some of its rows are in the answer

	mu    sync.Mutex
	rows  []byte // with commas between them
	taken bool   // some were handed out
	ended bool
	err   error
	moved notify.Signal // notified when rows or ended changed
	space notify.Signal // notified when rows were taken
	turn  notify.Signal // notified when rows are waited for
}

func (r *Reader) newScan(s *catalog.Shard, minSeq uint64, low, high int64, only *catalog.Replica) *scan {
	return &scan{
		reader: r, shard: s, minSeq: minSeq, low: low, high: high, only: only,
		moved: notify.NewSignal(), space: notify.NewSignal(), turn: notify.NewSignal(),
	}
}

// run reads until the end, an error that no other replica can help with, or the
// end of ctx.
func (s *scan) run(ctx context.Context) {
	err := s.anyReplica(ctx)
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	s.moved.Notify()
}

// anyReplica reads from one replica after the other until one has given all rows.
func (s *scan) anyReplica(ctx context.Context) error {
	order := []*catalog.Replica{s.only}
	if s.only == nil {
		order = s.shard.Choices(time.Now())
	}
	last := errNotReady
	failed := func(from *catalog.Replica, err error) {
		last = fmt.Errorf("server %s: %w", from.Server, err)
		order = slices.DeleteFunc(slices.Clone(order), func(r *catalog.Replica) bool { return r == from })
		if s.only == nil {
			from.Failed(time.Now())
			s.reader.metrics.failed.WithLabelValues(s.shard.Log.Table).Inc()
		}
	}
	for until := time.Now().Add(s.reader.cfg.Timeout); len(order) > 0 && time.Now().Before(until); {
		rows, from, err := hedge.First(ctx, order, hedge.Policy[*catalog.Replica, *shardclient.Rows]{
			After: s.reader.hedge, Ask: s.ask, Slow: s.reader.slow, Failed: failed, Drop: (*shardclient.Rows).Close,
		})
		if err == nil {
			err = s.copy(ctx, from, rows)
			rows.Close()
			if errors.Is(err, errParked) {
				select {
				case <-s.turn:
					return s.anyReplica(ctx)
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if err != nil && ctx.Err() == nil {
				failed(from, err)
			}
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !s.reset() {
			return fmt.Errorf("%w: shard %s: %w", errIncomplete, s.shard.ID, last)
		}
	}
	return fmt.Errorf("shard %s: %w", s.shard.ID, last)
}

// ask returns when a replica begins to answer.
func (s *scan) ask(ctx context.Context, from *catalog.Replica) (*shardclient.Rows, error) {
	s.reader.metrics.mayWait(from, s.minSeq)
	return from.Client.Rows(ctx, s.shard.Log, s.minSeq, s.low, s.high)
}

// errParked: nobody took a row of a scan for long. It holds nothing meanwhile,
// neither memory nor a shard server, which would cut it off.
var errParked = errors.New("it is not its turn")

// errIncomplete: a scan failed after some of its rows were taken.
var errIncomplete = errors.New("a part of the answer is missing")

// reset forgets what was read, unless some of it was taken.
func (s *scan) reset() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return false
	}
	s.rows = s.rows[:0]
	if s.bound != nil {
		s.bound = &bound{rows: s.bound.rows, bytes: s.bound.bytes}
	}
	return true
}

// copy takes over the rows of an answer.
func (s *scan) copy(ctx context.Context, from *catalog.Replica, rows *shardclient.Rows) error {
	for first := true; ; first = false {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			from.Answered(rows.Seq())
			s.shard.MinSeq.Raise(rows.Seq())
			return nil
		}
		if err != nil {
			return err
		}
		s.shard.MinSeq.Raise(rows.Seq()) // before a client sees a row
		if s.bound.end(row) {
			return nil
		}
		if err := s.put(ctx, row, first); err != nil {
			return err
		}
	}
}

// put adds a row, and waits while cfg.Prefetch bytes are not taken.
func (s *scan) put(ctx context.Context, row []byte, first bool) error {
	var park *time.Timer
	var late <-chan time.Time
	for {
		s.mu.Lock()
		if len(s.rows) == 0 || len(s.rows)+len(row) < s.reader.cfg.Prefetch {
			if !first {
				s.rows = append(s.rows, ',')
			}
			s.rows = append(s.rows, row...)
			s.mu.Unlock()
			s.moved.Notify()
			return nil
		}
		s.mu.Unlock()
		if park == nil { // Slow path
			park = time.NewTimer(s.reader.cfg.Park)
			defer park.Stop()
			late = park.C
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.space:
		case <-late:
			if s.reset() {
				return errParked
			}
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
			s.space.Notify()
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
		s.turn.Notify()
		select {
		case <-ctx.Done():
			return empty, context.Cause(ctx)
		case <-s.moved:
		}
	}
}
