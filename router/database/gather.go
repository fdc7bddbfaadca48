package database

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// Bounds of one question for rows by key.
const (
	mostGathered = 512      // keys
	mostAnswer   = 64 << 20 // bytes of its answer
)

// gatherer shares questions to one replica. While cfg.Flying of them are
// unanswered, what comes waits and makes the next one; there is no other delay.
type gatherer struct {
	mu      sync.Mutex
	flying  int
	waiting []*ask
}

// ask is one read of some keys. Whoever gets a batch on lead asks for all in it.
type ask struct {
	keys  []int64
	floor uint64
	lead  chan []*ask
	done  chan got
}

type got struct {
	rows [][]byte // those that are there, in the order of keys
	err  error
}

var errNotReady = errors.New("no replica is ready")

// get reads rows by key, as clients see them, from any replica of a shard.
func (d *Database) get(ctx context.Context, s *shard, keys []int64, floor uint64) ([][]byte, error) {
	failed := errNotReady
	for _, r := range s.choices(time.Now()) {
		d.metrics.asks(r, floor)
		g := &r.gets[0]
		if floor > 0 {
			g = &r.gets[1] // others need not wait for this floor
		}
		a := &ask{keys: keys, floor: floor, lead: make(chan []*ask, 1), done: make(chan got, 1)}
		answered := d.share(g, s, r, a)
		if answered.err == nil {
			return answered.rows, nil
		}
		failed = answered.err
		if ctx.Err() != nil {
			break
		}
		d.metrics.failed.WithLabelValues(s.log.Table).Inc()
	}
	return nil, fmt.Errorf("shard %s: %w", s.ID, failed)
}

// share asks for a, alone or with others.
func (d *Database) share(g *gatherer, s *shard, r *replica, a *ask) got {
	g.mu.Lock()
	if g.flying < d.cfg.Flying {
		g.flying++
		g.mu.Unlock()
		d.fly(g, s, r, []*ask{a})
		return <-a.done
	}
	g.waiting = append(g.waiting, a)
	g.mu.Unlock()
	d.metrics.shared.Inc()
	select {
	case answered := <-a.done:
		return answered
	case batch := <-a.lead:
		d.fly(g, s, r, batch)
		return <-a.done
	}
}

// fly asks for a batch, answers all in it, and has the next one asked by one
// of those who wait. After a failure all of them go elsewhere.
func (d *Database) fly(g *gatherer, s *shard, r *replica, batch []*ask) {
	rows, err := d.together(s, r, batch)
	g.mu.Lock()
	next := g.waiting
	g.waiting = nil
	if err == nil {
		next, g.waiting = cut(next)
	}
	if err != nil || len(next) == 0 {
		g.flying--
	}
	g.mu.Unlock()
	for _, a := range batch {
		a.answer(rows, err)
	}
	switch {
	case err != nil:
		r.failed(d.cfg.Avoid, time.Now())
		for _, a := range next {
			a.answer(nil, err)
		}
	case len(next) > 0:
		next[0].lead <- next
	}
}

// cut takes as many as one question may be for.
func cut(waiting []*ask) (batch, rest []*ask) {
	n, keys := 0, 0
	for n < len(waiting) && (n == 0 || keys+len(waiting[n].keys) <= mostGathered) {
		keys += len(waiting[n].keys)
		n++
	}
	return waiting[:n:n], slices.Clone(waiting[n:])
}

func (a *ask) answer(rows map[int64][]byte, err error) {
	found := got{err: err}
	for _, k := range a.keys {
		if row, ok := rows[k]; ok && err == nil {
			found.rows = append(found.rows, row)
		}
	}
	a.done <- found
}

func (d *Database) together(s *shard, r *replica, batch []*ask) (map[int64][]byte, error) {
	floor := uint64(0)
	var keys []int64
	for _, a := range batch {
		floor = max(floor, a.floor)
		keys = append(keys, a.keys...)
	}
	if len(batch) > 1 {
		slices.Sort(keys)
		keys = slices.Compact(keys)
	}
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		return nil, errors.New("the router is stopping")
	}
	return d.getFrom(ctx, s, r, keys, floor)
}

// getFrom reads rows by key from one replica.
func (d *Database) getFrom(ctx context.Context, s *shard, r *replica, keys []int64, floor uint64) (map[int64][]byte, error) {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Try)
	defer stop()
	body := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendInt(body, k, 10)
	}
	reply, err := r.peer.ask(ctx, "POST", shardURI(s, "get", floor), append(body, "]}"...))
	if err != nil {
		return nil, err
	}
	defer reply.Close()
	if reply.code != fasthttp.StatusOK {
		return nil, reply.refusal()
	}
	lines, err := reply.all(mostAnswer)
	if err != nil {
		return nil, err
	}
	rows := make(map[int64][]byte, len(keys))
	n := 0
	for len(lines) > 0 {
		line, rest, whole := bytes.Cut(lines, []byte{'\n'})
		if whole && len(line) > 0 && line[0] == events.ShardEnd {
			seq, err := parseEnd(line, n)
			if err != nil {
				return nil, fmt.Errorf("server %s: %w", r.server, err)
			}
			r.answered(seq)
			s.floor.raise(seq)
			return rows, nil
		}
		key, err := keyOf(s.schema, line)
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", r.server, err)
		}
		rows[key] = line
		n++
		lines = rest
	}
	return nil, fmt.Errorf("server %s: %w", r.server, errCut)
}

var errCut = errors.New("the answer was cut off")

// parseEnd reads the last line of an answer of n lines.
func parseEnd(line []byte, n int) (uint64, error) {
	seq, lines, _ := bytes.Cut(bytes.TrimSuffix(line[1:], []byte{'\n'}), []byte{' '})
	at, err := strconv.ParseUint(string(seq), 10, 64)
	if err != nil || string(lines) != strconv.Itoa(n) {
		return 0, fmt.Errorf("%w: it ends with %.50q after %d lines", errCut, line, n)
	}
	return at, nil
}

// keyOf is the key of a row as shard servers write it: its first column.
func keyOf(schema *events.Schema, line []byte) (int64, error) {
	name := schema.KeyColumn()
	if n := len(name) + 4; len(line) > n && string(line[2:n-2]) == name {
		digits := line[n:]
		if i := bytes.IndexAny(digits, ",}"); i > 0 && string(line[:2]) == `{"` && string(line[n-2:n]) == `":` {
			if key, err := strconv.ParseInt(string(digits[:i]), 10, 64); err == nil {
				return key, nil
			}
		}
	}
	row, err := schema.ReadRow(line) // Slow path: another order, or white space
	return row.Key(), err
}

func decodeRefusal(body []byte) (*events.Refusal, error) {
	var r events.Refusal
	err := json.Unmarshal(body, &r)
	return &r, err
}
