package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
)

// mostKeys is how many keys a range may span to be read by key, and share its
// question with others.
const mostKeys = 16

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
	first, cancel := context.WithTimeout(ctx, d.cfg.Read)
	defer cancel()
	floors, err := d.floors(first, l, shards)
	if err != nil {
		return unread(err)
	}
	if high-low >= 0 && high-low < mostKeys {
		defer d.metrics.read(t.name(), "keys", begun)
		return d.readKeys(first, ctx, shards, floors, low, high)
	}
	defer d.metrics.read(t.name(), "range", begun)
	return d.stream(ctx, func() *merge {
		m := &merge{head: readHead(shards), tail: []byte(`],"status":"success"}`)}
		for i, s := range shards {
			m.parts = append(m.parts, d.newSource(s, floors[i], max(low, s.Low), min(high, s.High()), nil))
		}
		return m
	})
}

// parseRange reads {"Stud_id":{"low":…,"high":…}}.
func parseRange(key string, o object) (low, high int64, err error) {
	if !o.has(key) {
		return 0, 0, events.Refuse(400, "%s is missing", key)
	}
	var ends object
	if err := json.Unmarshal(o[key], &ends); err != nil {
		return 0, 0, events.Refuse(400, "%s is not an object with low and high", key)
	}
	for _, f := range []struct {
		name string
		to   *int64
	}{{"low", &low}, {"high", &high}} {
		raw, ok := ends[f.name]
		if !ok {
			return 0, 0, events.Refuse(400, "%s.%s is missing", key, f.name)
		}
		if *f.to, err = parseKey(key+"."+f.name, raw, false); err != nil {
			return 0, 0, err
		}
	}
	if low > high {
		return 0, 0, events.Refuse(400, "%s: low %d is greater than high %d", key, low, high)
	}
	return low, high, nil
}

// floors are the seqs that a read has to see, by shard.
func (d *Database) floors(ctx context.Context, l level, shards []*shard) ([]uint64, error) {
	floors := make([]uint64, len(shards))
	errs := make([]error, len(shards))
	if l != linearizable {
		for i, s := range shards {
			floors[i], errs[i] = d.floorOf(ctx, l, s)
		}
		return floors, errors.Join(errs...)
	}
	var barriers sync.WaitGroup
	for i, s := range shards {
		barriers.Go(func() { floors[i], errs[i] = d.floorOf(ctx, l, s) })
	}
	barriers.Wait()
	return floors, errors.Join(errs...)
}

// unread is a read that nobody answers now. Nothing is at stake, so it may be
// tried again whatever the reason.
func unread(err error) error { return events.Refuse(503, "%s", err) }

// readKeys answers a read of few keys.
func (d *Database) readKeys(first context.Context, ctx *fasthttp.RequestCtx, shards []*shard, floors []uint64, low, high int64) error {
	rows := make([][][]byte, len(shards))
	errs := make([]error, len(shards))
	get := func(i int) {
		from, to := max(low, shards[i].Low), min(high, shards[i].High())
		keys := make([]int64, 0, to-from+1)
		for n := range to - from + 1 {
			keys = append(keys, from+n)
		}
		rows[i], errs[i] = d.get(first, shards[i], keys, floors[i])
	}
	if len(shards) == 1 {
		get(0)
	} else {
		var gets sync.WaitGroup
		for i := range shards {
			gets.Go(func() { get(i) })
		}
		gets.Wait()
	}
	if err := errors.Join(errs...); err != nil {
		return unread(err)
	}
	body := readHead(shards)
	for i, row := range slices.Concat(rows...) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, row...)
	}
	answer.JSON(ctx, fasthttp.StatusOK, append(body, `],"status":"success"}`...))
	return nil
}

// readHead begins the answer to a read.
func readHead(shards []*shard) []byte {
	ids := make([]string, len(shards))
	for i, s := range shards {
		ids[i] = s.ID
	}
	head := append([]byte(`{"shards_queried":`), answer.Marshal(ids)...)
	return append(head, `,"data":[`...)
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
		return events.Refuse(404, "server %.70q does not exist", name)
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
			return events.Refuse(503, "server %s cannot be reached", name)
		}
		shards, replicas = append(shards, s), append(replicas, r)
	}
	first, cancel := context.WithTimeout(ctx, d.cfg.Read)
	defer cancel()
	floors, err := d.floors(first, l, shards)
	if err != nil {
		return unread(err)
	}
	return d.stream(ctx, func() *merge {
		m := &merge{head: []byte("{"), tail: []byte(`"status":"success"}`)}
		for i, s := range shards {
			p := d.newSource(s, floors[i], math.MinInt64, math.MaxInt64, replicas[i])
			p.before, p.after = []byte(fmt.Sprintf("%q:[", s.ID)), []byte("],")
			m.parts = append(m.parts, p)
		}
		return m
	})
}
