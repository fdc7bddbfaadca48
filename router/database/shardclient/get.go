package shardclient

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"ringway/events"
	"ringway/events/shardapi"
)

// maxAnswer bounds the answer to one request for rows by key, in bytes.
const maxAnswer = 64 << 20

// subRequest is the part of a request that is for one shard.
type subRequest struct {
	log    events.LogID
	schema *events.Schema
	minSeq uint64
	keys   []int64
	reads  []*KeyRead

	rows []line // by key
	seq  uint64 // what the replica had applied
	err  error
}

// line is a row as the server wrote it.
type line struct {
	key  int64
	text []byte
}

// Wait returns when the replica of a shard has applied minSeq, with the seq that
// it has applied. It reads the row of key for that.
func (c *Client) Wait(ctx context.Context, log events.LogID, schema *events.Schema, key int64, minSeq uint64) (uint64, error) {
	all := []subRequest{{log: log, schema: schema, keys: []int64{key}, minSeq: minSeq}}
	if err := c.get(ctx, all); err != nil {
		return 0, err
	}
	return all[0].seq, all[0].err
}

// divide makes a sub-request for each shard of a batch.
func divide(batch []*KeyRead) []subRequest {
	var all []subRequest
	for _, read := range batch {
		i := slices.IndexFunc(all, func(q subRequest) bool { return q.log == read.Log })
		if i < 0 {
			i = len(all)
			all = append(all, subRequest{log: read.Log, schema: read.Schema})
		}
		q := &all[i]
		q.reads = append(q.reads, read)
		q.keys = append(q.keys, read.Keys...)
		q.minSeq = max(q.minSeq, read.MinSeq)
	}
	return all
}

// get sends one request. Its error is of all sub-requests.
func (c *Client) get(ctx context.Context, all []subRequest) error {
	ctx, stop := context.WithTimeout(ctx, c.cfg.Try)
	defer stop()
	body := []byte{'['}
	for _, q := range all {
		part := shardapi.GetPart{Table: q.log.Table, Shard: q.log.Shard, Log: q.log.Incarnation, MinSeq: q.minSeq, Keys: q.keys}
		body = append(part.Append(body), ',')
	}
	body[len(body)-1] = ']'
	reply, err := c.ask(ctx, http.MethodPost, shardapi.GetPath, body)
	if err != nil {
		return err
	}
	defer reply.Close()
	if reply.code != http.StatusOK {
		return reply.statusError()
	}
	text, err := reply.all(maxAnswer)
	if err != nil {
		return err
	}
	for i := range all {
		if text, err = all[i].parse(text); err != nil {
			return err
		}
	}
	return nil
}

// parse takes the lines of one sub-request, and returns what follows them.
func (q *subRequest) parse(text []byte) (rest []byte, err error) {
	q.rows = make([]line, 0, len(q.keys))
	for {
		one, rest, whole := bytes.Cut(text, []byte{'\n'})
		switch {
		case !whole || len(one) == 0:
			return nil, errCut
		case one[0] == shardapi.Fault:
			q.err = shardapi.ReadFault(one)
			return rest, nil
		case one[0] == shardapi.End:
			if q.seq, err = parseEnd(one, len(q.rows)); err == nil {
				q.err = notBelow(q.seq, q.minSeq)
			}
			return rest, err
		}
		key, err := keyOf(q.schema, one)
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

// find is the rows of some keys.
func (q *subRequest) find(keys []int64) [][]byte {
	rows := make([][]byte, 0, len(keys))
	for _, key := range keys {
		if i, ok := slices.BinarySearchFunc(q.rows, key, func(l line, key int64) int { return cmp.Compare(l.key, key) }); ok {
			rows = append(rows, q.rows[i].text)
		}
	}
	return rows
}
