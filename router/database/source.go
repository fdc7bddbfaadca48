package database

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// source reads the rows of one shard from low to high, ahead of who takes
// them, but not further than cfg.Prefetch. As long as nothing was taken it may
// begin anew at another replica.
type source struct {
	d         *Database
	shard     *shard
	floor     uint64
	low, high int64
	only      *replica // nil: any

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

func (d *Database) newSource(s *shard, floor uint64, low, high int64, only *replica) *source {
	return &source{
		d: d, shard: s, floor: floor, low: low, high: high, only: only,
		moved: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
}

// run reads until the end, a fault that no other replica can mend, or the end
// of ctx.
func (s *source) run(ctx context.Context) {
	err := s.anyReplica(ctx)
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	poke(s.moved)
}

func (s *source) anyReplica(ctx context.Context) error {
	choices := []*replica{s.only}
	if s.only == nil {
		choices = s.shard.choices(time.Now())
	}
	failed := fmt.Errorf("shard %s: %w", s.shard.ID, errNotReady)
	begun := time.Now()
	for _, r := range choices {
		if time.Since(begun) > s.d.cfg.Read {
			break
		}
		s.d.metrics.asks(r, s.floor)
		err := s.from(ctx, r)
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = fmt.Errorf("shard %s: server %s: %w", s.shard.ID, r.server, err)
		if s.only == nil {
			r.failed(s.d.cfg.Avoid, time.Now())
			s.d.metrics.failed.WithLabelValues(s.shard.log.Table).Inc()
		}
		if !s.rewind() {
			return fmt.Errorf("%w: %w", errTorn, failed)
		}
	}
	return failed
}

// errTorn is a fault in the middle of what was handed out.
var errTorn = errors.New("a part of the answer is missing")

// rewind forgets what was read; false if some of it was taken.
func (s *source) rewind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = s.rows[:0]
	return !s.taken
}

// from reads from one replica.
func (s *source) from(ctx context.Context, r *replica) error {
	uri := shardURI(s.shard, "rows", s.floor) + "&low=" + strconv.FormatInt(s.low, 10) + "&high=" + strconv.FormatInt(s.high, 10)
	reply, err := r.peer.ask(ctx, "GET", uri, nil)
	if err != nil {
		return err
	}
	defer reply.Close()
	if reply.code != fasthttp.StatusOK {
		return reply.refusal()
	}
	lines := bufio.NewReaderSize(reply.body, 32<<10)
	var long []byte
	for n := 0; ; {
		part, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && len(long) < 2*events.MaxOpBytes {
			long = append(long, part...)
			continue
		}
		if errors.Is(err, io.EOF) {
			return errCut
		}
		if err != nil {
			return err
		}
		line := part
		if long != nil {
			line, long = append(long, part...), nil
		}
		if line[0] == events.ShardEnd {
			seq, err := parseEnd(line, n)
			if err != nil {
				return err
			}
			r.answered(seq)
			s.shard.floor.raise(seq)
			_, err = io.Copy(io.Discard, lines) // so that the connection can be kept
			return err
		}
		if err := s.put(ctx, line[:len(line)-1], n == 0); err != nil {
			return err
		}
		n++
	}
}

// put adds a row when there is room for it.
func (s *source) put(ctx context.Context, row []byte, first bool) error {
	for {
		s.mu.Lock()
		if len(s.rows) == 0 || len(s.rows)+len(row) < s.d.cfg.Prefetch {
			if !first {
				s.rows = append(s.rows, ',')
			}
			s.rows = append(s.rows, row...)
			s.mu.Unlock()
			poke(s.moved)
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
func (s *source) take(ctx context.Context, empty []byte) ([]byte, error) {
	for {
		s.mu.Lock()
		if rows := s.rows; len(rows) > 0 {
			s.rows, s.taken = empty[:0], true
			s.mu.Unlock()
			poke(s.space)
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
