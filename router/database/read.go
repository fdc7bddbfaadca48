package database

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// maxKeys is how many keys a range may span to be read by key, and share its
// question with others.
const maxKeys = 16

// read answers /read.
func (d *Database) read(ctx *fasthttp.RequestCtx) error {
	begun := time.Now()
	t, o, err := d.called(ctx)
	if err != nil {
		return err
	}
	low, high, err := parseRange(t.route.Table.Schema.KeyColumn(), o)
	if err != nil {
		return err
	}
	l, err := parseLevel(ctx.Request.Header.Peek(consistencyHeader))
	if err != nil {
		return err
	}
	shards := t.between(low, high)
	until := begun.Add(d.cfg.Read)
	minSeqs, err := d.minSeqs(until, l, shards)
	if err != nil {
		return unavailable(err)
	}
	if high-low >= 0 && high-low < maxKeys {
		defer took(t.readKeys, begun)
		return d.readKeys(until, ctx, shards, minSeqs, low, high)
	}
	defer took(t.readRange, begun)
	return d.stream(ctx, func() *rangeReader {
		m := &rangeReader{head: headOf(shards), tail: []byte(tailOfRead)}
		for i, s := range shards {
			m.parts = append(m.parts, d.newShardScan(s, minSeqs[i], max(low, s.Low), min(high, s.High()), nil))
		}
		return m
	})
}

// parseRange reads {"Stud_id":{"low":…,"high":…}}.
func parseRange(key string, o object) (low, high int64, err error) {
	if !o.has(key) {
		return 0, 0, events.StatusErrorf(400, "%s is missing", key)
	}
	ends, ok := fieldsOf(o.raw(key))
	if !ok {
		return 0, 0, events.StatusErrorf(400, "%s is not an object with low and high", key)
	}
	if low, err = ends.end(key, "low"); err != nil {
		return 0, 0, err
	}
	if high, err = ends.end(key, "high"); err != nil {
		return 0, 0, err
	}
	if low > high {
		return 0, 0, events.StatusErrorf(400, "%s: low %d is greater than high %d", key, low, high)
	}
	return low, high, nil
}

// end is one end of a range of key.
func (o object) end(key, name string) (int64, error) {
	raw, ok := o.get(name)
	if !ok {
		return 0, events.StatusErrorf(400, "%s.%s is missing", key, name)
	}
	end, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil { // Slow path
		return parseKey(key+"."+name, raw, false)
	}
	return end, nil
}

// unread is a read that nobody answers now. Nothing is at stake, so it may be
// tried again whatever the reason.
func unavailable(err error) error { return events.StatusErrorf(503, "%s", err) }

// readKeys answers a read of few keys.
func (d *Database) readKeys(until time.Time, ctx *fasthttp.RequestCtx, shards []*shard, minSeqs []uint64, low, high int64) error {
	rows, err := d.rowsOf(until, shards, minSeqs, low, high)
	if err != nil {
		return unavailable(err)
	}
	head, size := headOf(shards), len(tailOfRead)
	for _, row := range rows {
		size += len(row) + 1
	}
	body := append(make([]byte, 0, len(head)+size), head...)
	for i, row := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, row...)
	}
	answer.JSON(ctx, fasthttp.StatusOK, append(body, tailOfRead...))
	return nil
}

// rowsOf are the rows of few keys, which shards hold.
func (d *Database) rowsOf(until time.Time, shards []*shard, minSeqs []uint64, low, high int64) ([][]byte, error) {
	if len(shards) == 1 {
		return d.get(until, shards[0], shards[0].keys(low, high), minSeqs[0])
	}
	rows := make([][][]byte, len(shards))
	errs := make([]error, len(shards))
	var gets sync.WaitGroup
	for i, s := range shards {
		gets.Go(func() { rows[i], errs[i] = d.get(until, s, s.keys(low, high), minSeqs[i]) })
	}
	gets.Wait()
	return slices.Concat(rows...), errors.Join(errs...)
}

// keys are those from low to high that s holds.
func (s *shard) keys(low, high int64) []int64 {
	low, high = max(low, s.Low), min(high, s.High())
	keys := make([]int64, high-low+1)
	for i := range keys {
		keys[i] = low + int64(i)
	}
	return keys
}

// tailOfRead ends the answer to a read.
const tailOfRead = `],"status":"success"}`

// headOf begins the answer to a read of some shards.
func headOf(shards []*shard) []byte {
	if len(shards) == 1 {
		return shards[0].head
	}
	ids := make([]string, len(shards))
	for i, s := range shards {
		ids[i] = s.ID
	}
	return readHead(ids)
}

// readHead has no room behind it: it may be shared.
func readHead(ids []string) []byte {
	head := append([]byte(`{"shards_queried":`), answer.Marshal(ids)...)
	return slices.Clip(append(head, `,"data":[`...))
}

// readServer answers /read/<server>: every row of every shard that it keeps,
// as it has them.
func (d *Database) readServer(ctx *fasthttp.RequestCtx, name string) error {
	t, err := d.queried(ctx)
	if err != nil {
		return err
	}
	server, ok := t.route.Server(name)
	if !ok {
		return events.StatusErrorf(404, "server %.70q does not exist", name)
	}
	l, err := parseLevel(ctx.Request.Header.Peek(consistencyHeader))
	if err != nil {
		return err
	}
	var shards []*shard
	var replicas []*replica
	for _, id := range server.Shards {
		s := t.shard(id)
		if s == nil {
			continue
		}
		r := s.replicas[name]
		if r == nil {
			return events.StatusErrorf(503, "server %s cannot be reached", name)
		}
		shards, replicas = append(shards, s), append(replicas, r)
	}
	minSeqs, err := d.minSeqs(time.Now().Add(d.cfg.Read), l, shards)
	if err != nil {
		return unavailable(err)
	}
	return d.stream(ctx, func() *rangeReader {
		m := &rangeReader{head: []byte("{"), tail: []byte(`"status":"success"}`)}
		for i, s := range shards {
			p := d.newShardScan(s, minSeqs[i], math.MinInt64, math.MaxInt64, replicas[i])
			p.before, p.after = []byte(fmt.Sprintf("%q:[", s.ID)), []byte("],")
			m.parts = append(m.parts, p)
		}
		return m
	})
}
