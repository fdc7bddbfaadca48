package database

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// maxAnswer bounds the answer to one question, in bytes.
const maxAnswer = 64 << 20

// subRequest is the part of a batch that is for one replica.
type subRequest struct {
	shard   *shard
	replica *replica
	asks    []*ask
	keys    []int64
	minSeq  uint64
	rows    []line // by key
	err     error
}

// line is a row as the server wrote it.
type line struct {
	key  int64
	text []byte
}

// sendBatch sends one request for a batch and hands out the results. After an
// error nobody has a result.
func (d *Database) sendBatch(ctx context.Context, p *peer, batch []*ask) error {
	subRequests := divide(batch)
	if err := d.question(ctx, p, subRequests); err != nil {
		return fmt.Errorf("server %s: %w", batch[0].replica.server, err)
	}
	for i := range subRequests {
		q := &subRequests[i]
		if q.err != nil {
			q.replica.failed(d.cfg.Avoid, time.Now())
		}
		for _, a := range q.asks {
			a.result <- q.answer(a.keys)
		}
	}
	return nil
}

// divide makes a subRequest for each replica.
func divide(batch []*ask) []subRequest {
	var all []subRequest
	for _, a := range batch {
		i := slices.IndexFunc(all, func(q subRequest) bool { return q.replica == a.replica })
		if i < 0 {
			i = len(all)
			all = append(all, subRequest{shard: a.shard, replica: a.replica})
		}
		q := &all[i]
		q.asks = append(q.asks, a)
		q.keys = append(q.keys, a.keys...)
		q.minSeq = max(q.minSeq, a.minSeq)
	}
	return all
}

// answer is the rows of some keys.
func (q *subRequest) answer(keys []int64) keyResult {
	if q.err != nil {
		return keyResult{err: q.err}
	}
	rows := make([][]byte, 0, len(keys))
	for _, key := range keys {
		if i, ok := slices.BinarySearchFunc(q.rows, key, func(l line, key int64) int { return cmp.Compare(l.key, key) }); ok {
			rows = append(rows, q.rows[i].text)
		}
	}
	return keyResult{rows: rows}
}

// question asks one server. Its error is of all subRequests.
func (d *Database) question(ctx context.Context, p *peer, subRequests []subRequest) error {
	ctx, stop := context.WithTimeout(ctx, d.cfg.Try)
	defer stop()
	body := []byte{'['}
	for i := range subRequests {
		q := &subRequests[i]
		part := events.GetPart{Table: q.shard.log.Table, Shard: q.shard.ID, Log: q.shard.log.Incarnation, MinSeq: q.minSeq, Keys: q.keys}
		body = append(part.Append(body), ',')
	}
	body[len(body)-1] = ']'
	reply, err := p.ask(ctx, "POST", events.ShardGet, body)
	if err != nil {
		return err
	}
	defer reply.Close()
	if reply.code != fasthttp.StatusOK {
		return reply.statusError()
	}
	text, err := reply.all(maxAnswer)
	if err != nil {
		return err
	}
	for i := range subRequests {
		if text, err = subRequests[i].read(text); err != nil {
			return err
		}
	}
	return nil
}

// read takes the lines of one subRequest, and returns what follows them.
func (q *subRequest) read(text []byte) (rest []byte, err error) {
	q.rows = make([]line, 0, len(q.keys))
	for {
		one, rest, whole := bytes.Cut(text, []byte{'\n'})
		switch {
		case !whole || len(one) == 0:
			return nil, errCut
		case one[0] == events.ShardFault:
			q.err = events.ReadShardFault(one)
			return rest, nil
		case one[0] == events.ShardEnd:
			seq, err := parseEnd(one, len(q.rows))
			switch {
			case err != nil:
			case seq < q.minSeq:
				q.err = below(seq, q.minSeq)
			default:
				q.replica.answered(seq)
				q.shard.minSeq.raise(seq)
			}
			return rest, err
		}
		key, err := keyOf(q.shard.schema, one)
		if err != nil {
			return nil, err
		}
		if n := len(q.rows); n > 0 && q.rows[n-1].key >= key {
			return nil, fmt.Errorf("row %d comes after row %d", key, q.rows[n-1].key)
		}
		q.rows = append(q.rows, line{key, one})
		text = rest
	}
}

var errCut = errors.New("the answer was cut off")

// below is of a replica whose database went back between its look at the minimum seq
// and its answer.
func below(seq, minSeq uint64) error { return fmt.Errorf("it answers at %d, below %d", seq, minSeq) }

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

// seen reports whether a replica has applied seq, after waiting for it.
func (d *Database) seen(ctx context.Context, s *shard, r *replica, seq uint64) error {
	all := []subRequest{{shard: s, replica: r, keys: []int64{s.Low}, minSeq: seq}}
	if err := d.question(ctx, r.peer, all); err != nil {
		return err
	}
	return all[0].err
}
