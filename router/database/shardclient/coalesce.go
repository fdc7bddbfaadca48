package shardclient

import (
	"context"
	"runtime"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/router/database/background"
)

// KeyRead is a read of some keys of one shard.
type KeyRead struct {
	Log    events.LogID
	Schema *events.Schema
	Keys   []int64
	MinSeq uint64
	// Done is called once, with the rows that are there in the order of Keys and
	// the seq that the replica had applied. It must not block.
	Done func(rows [][]byte, seq uint64, err error)
}

// coalescer sends reads by key of all shards of a server together. While one
// request is in flight, reads wait, and make the next one. A request that takes
// longer than cfg.Stagger no longer makes them wait, unless cfg.MaxInFlight are in
// flight.
type coalescer struct {
	mu       sync.Mutex
	inFlight int
	lastSent time.Time
	waiting  []*KeyRead
}

// Get reads rows by key; shared reports whether it waits for the request of
// another read.
func (c *Client) Get(read *KeyRead) (shared bool) {
	q := &c.eventual
	if read.MinSeq > 0 {
		q = &c.upToDate
	}
	if !q.add(read, c.cfg) {
		return true
	}
	if !c.group.Go(func(ctx context.Context) { c.send(ctx, q) }) {
		failAll(q.abort(), background.ErrStopping)
	}
	return false
}

// add puts a read in the queue; true if its caller has to send.
func (q *coalescer) add(read *KeyRead, cfg *Config) (send bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, read)
	send = q.inFlight == 0 || q.inFlight < cfg.MaxInFlight && time.Since(q.lastSent) > cfg.Stagger
	if send {
		q.inFlight++
	}
	return send
}

// send sends batches until nothing waits. When a request fails, all reads that
// wait fail with it, and can go elsewhere.
func (c *Client) send(ctx context.Context, q *coalescer) {
	for {
		runtime.Gosched() // lets readers that are about to join do so: a request costs as much as many rows
		batch := q.take()
		if batch == nil {
			return
		}
		if err := c.sendBatch(ctx, batch); err != nil {
			failAll(append(batch, q.abort()...), err)
			return
		}
	}
}

// sendBatch sends one request for a batch and hands out the rows. After an error
// no read is done.
func (c *Client) sendBatch(ctx context.Context, batch []*KeyRead) error {
	all := divide(batch)
	if err := c.get(ctx, all); err != nil {
		return err
	}
	for _, q := range all {
		for _, read := range q.reads {
			read.Done(q.find(read.Keys), q.seq, q.err)
		}
	}
	return nil
}

func failAll(batch []*KeyRead, err error) {
	for _, read := range batch {
		read.Done(nil, 0, err)
	}
}

// take is as much of what waits as one request may be for; nil ends the sender.
func (q *coalescer) take() []*KeyRead {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, keys := 0, 0
	for n < len(q.waiting) && n < shardapi.MaxGetParts && (n == 0 || keys+len(q.waiting[n].Keys) <= shardapi.MaxGetKeys) {
		keys += len(q.waiting[n].Keys)
		n++
	}
	if n == 0 {
		q.inFlight--
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting, q.lastSent = q.waiting[n:], time.Now()
	return batch
}

// abort ends a sender and empties the queue.
func (q *coalescer) abort() []*KeyRead {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inFlight--
	waiting := q.waiting
	q.waiting = nil
	return waiting
}
