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
type shardScan struct {
	d         *Database
	shard     *shard
	minSeq    uint64
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

func (d *Database) newShardScan(s *shard, minSeq uint64, low, high int64, only *replica) *shardScan {
	return &shardScan{
		d: d, shard: s, minSeq: minSeq, low: low, high: high, only: only,
		moved: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
}

// run reads until the end, a fault that no other replica can mend, or the end
// of ctx.
func (s *shardScan) run(ctx context.Context) {
	err := s.anyReplica(ctx)
	s.mu.Lock()
	s.ended, s.err = true, err
	s.mu.Unlock()
	notify(s.moved)
}

func (s *shardScan) anyReplica(ctx context.Context) error {
	order := []*replica{s.only}
	if s.only == nil {
		order = s.shard.choices(time.Now())
	}
	failed := errNotReady
	for until := time.Now().Add(s.d.cfg.Read); len(order) > 0 && time.Now().Before(until); {
		var a answering
		a, order = s.first(ctx, order)
		if a.err == nil {
			a.err = s.copy(ctx, a)
		}
		a.close()
		if a.err == nil || ctx.Err() != nil {
			return a.err
		}
		failed = fmt.Errorf("server %s: %w", a.replica.server, a.err)
		s.failed(a.replica)
		if !s.rewind() {
			return fmt.Errorf("%w: shard %s: %w", errIncomplete, s.shard.ID, failed)
		}
	}
	return fmt.Errorf("shard %s: %w", s.shard.ID, failed)
}

// failed makes the other replicas the first choices for a while.
func (s *shardScan) failed(r *replica) {
	if s.only == nil {
		r.failed(s.d.cfg.Avoid, time.Now())
		s.d.metrics.failed.WithLabelValues(s.shard.log.Table).Inc()
	}
}

// answering is a replica that begins to answer, or its error.
type answering struct {
	replica *replica
	reply   *reply
	err     error
	stop    context.CancelFunc // ends the question
}

func (a answering) close() {
	if a.reply != nil {
		a.reply.Close()
	}
	a.stop()
}

// first asks the first of order, and the next one too each time that nobody
// begins to answer within cfg.Hedge. The first answer counts, or the last
// error. The rest can still be asked.
func (s *shardScan) first(ctx context.Context, order []*replica) (a answering, rest []*replica) {
	answers := make(chan answering, len(order))
	open := map[*replica]context.CancelFunc{}
	ask := func() (r *replica) {
		r, order = order[0], order[1:]
		s.d.metrics.mayWait(r, s.minSeq)
		asking, stop := context.WithCancel(ctx)
		open[r] = stop
		go func() {
			reply, err := s.ask(asking, r)
			answers <- answering{r, reply, err, stop}
		}()
		return r
	}
	late := time.NewTicker(s.d.cfg.Hedge)
	defer late.Stop()
	for asked := ask(); ; {
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
				asked.failed(s.d.cfg.Avoid, now)
				s.d.metrics.hedged.Inc()
				asked = ask()
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
func (s *shardScan) rewind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = s.rows[:0]
	return !s.taken
}

// ask returns when a replica begins to answer.
func (s *shardScan) ask(ctx context.Context, r *replica) (*reply, error) {
	uri := shardURI(s.shard, "rows", s.minSeq) + "&low=" + strconv.FormatInt(s.low, 10) + "&high=" + strconv.FormatInt(s.high, 10)
	reply, err := r.peer.ask(ctx, "GET", uri, nil)
	if err != nil || reply.code == fasthttp.StatusOK {
		return reply, err
	}
	defer reply.Close()
	return nil, reply.statusError()
}

// copy takes over the rows of an answer.
func (s *shardScan) copy(ctx context.Context, a answering) error {
	lines := bufio.NewReaderSize(a.reply.body, 32<<10)
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
		if line[0] == events.ShardSeq && n == 0 {
			seq, err := strconv.ParseUint(string(line[1:len(line)-1]), 10, 64)
			if err != nil {
				return fmt.Errorf("%w: it begins with %.50q", errCut, line)
			}
			if seq < s.minSeq {
				return below(seq, s.minSeq)
			}
			s.shard.minSeq.raise(seq) // before a client sees a row
			continue
		}
		if line[0] == events.ShardEnd {
			seq, err := parseEnd(line, n)
			if err != nil {
				return err
			}
			if seq < s.minSeq {
				return below(seq, s.minSeq)
			}
			a.replica.answered(seq)
			s.shard.minSeq.raise(seq)
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
func (s *shardScan) put(ctx context.Context, row []byte, first bool) error {
	for {
		s.mu.Lock()
		if len(s.rows) == 0 || len(s.rows)+len(row) < s.d.cfg.Prefetch {
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
func (s *shardScan) take(ctx context.Context, empty []byte) ([]byte, error) {
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
