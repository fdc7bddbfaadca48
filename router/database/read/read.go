package read

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/strictjson"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
)

// maxKeys is how many keys a range may span to be read by key, and share its
// request with others.
const maxKeys = 16

// Read answers /read.
func (r *Reader) Read(ctx *fasthttp.RequestCtx) error {
	begun := time.Now()
	t, o, err := r.catalog.Tables().Parse(ctx.Request.Body())
	if err != nil {
		return err
	}
	key := t.Schema().KeyColumn()
	o.Only("table", key, "limit", "after")
	low, high, err := parseRange(key, o)
	if err != nil {
		return err
	}
	low, limit, none := parsePage(key, o, low, high)
	if err := o.Err(); err != nil {
		return err
	}
	l, err := levelOf(ctx)
	if err != nil {
		return err
	}
	shards := t.Between(low, high)
	if none {
		shards = nil
	}
	whole, cancel := r.group.WithTimeout(r.cfg.Timeout)
	defer cancel()
	minSeqs, err := r.minSeqs(whole, l, shards)
	if err != nil {
		return api.Unavailable(err)
	}
	if limit > 0 {
		defer r.metrics.took(t.Name(), rangeReads, begun)
		return r.readPage(whole, ctx, t, shards, minSeqs, low, high, limit)
	}
	if high-low >= 0 && high-low < maxKeys {
		defer r.metrics.took(t.Name(), keyReads, begun)
		return r.readKeys(whole, ctx, shards, minSeqs, low, high)
	}
	defer r.metrics.took(t.Name(), rangeReads, begun)
	return r.stream(ctx, func() *rangeReader {
		pieces := []piece{{text: headOf(shards)}}
		for i, s := range shards {
			pieces = append(pieces, piece{scan: r.newScan(s, minSeqs[i], max(low, s.Low), min(high, s.High()), nil)})
		}
		return &rangeReader{pieces: append(pieces, piece{text: []byte(tailOfRead)})}
	})
}

// parseRange reads {"Stud_id":{"low":…,"high":…}}.
func parseRange(key string, o strictjson.Object) (low, high int64, err error) {
	ends := o.Object(key, "an object with low and high")
	ends.Only("low", "high")
	low, high = ends.Key("low", false), ends.Key("high", false)
	if low > high {
		o.Fail(api.BadRequest("%s: low %d is greater than high %d", key, low, high))
	}
	return low, high, o.Err()
}

// readKeys answers a read of few keys.
func (r *Reader) readKeys(whole context.Context, ctx *fasthttp.RequestCtx, shards []*catalog.Shard, minSeqs []uint64, low, high int64) error {
	rows, err := r.rowsOf(whole, shards, minSeqs, low, high)
	if err != nil {
		return api.Unavailable(err)
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
	answer.JSON(ctx, http.StatusOK, append(body, tailOfRead...))
	return nil
}

// tailOfRead ends the answer to a read.
const tailOfRead = `],"status":"success"}`

// headOf begins the answer to a read of some shards.
func headOf(shards []*catalog.Shard) []byte {
	if len(shards) == 1 {
		return readHead([]string{shards[0].ID})
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

// Server answers /read/<server>: every row of every shard that it keeps,
// as it has them.
func (r *Reader) Server(ctx *fasthttp.RequestCtx, name string) error {
	t, err := r.catalog.Tables().Find(string(ctx.QueryArgs().Peek("table")))
	if err != nil {
		return err
	}
	server, ok := t.Route.Server(name)
	if !ok {
		return events.StatusErrorf(http.StatusNotFound, "server %.70q does not exist", name)
	}
	l, err := levelOf(ctx)
	if err != nil {
		return err
	}
	var shards []*catalog.Shard
	var replicas []*catalog.Replica
	for _, id := range server.Shards {
		s := t.Shard(id)
		if s == nil {
			continue
		}
		one := s.Replicas[name]
		if one == nil {
			return events.StatusErrorf(http.StatusServiceUnavailable, "server %s cannot be reached", name)
		}
		shards, replicas = append(shards, s), append(replicas, one)
	}
	whole, cancel := r.group.WithTimeout(r.cfg.Timeout)
	defer cancel()
	minSeqs, err := r.minSeqs(whole, l, shards)
	if err != nil {
		return api.Unavailable(err)
	}
	return r.stream(ctx, func() *rangeReader {
		pieces := []piece{{text: []byte("{")}}
		for i, s := range shards {
			rows := r.newScan(s, minSeqs[i], math.MinInt64, math.MaxInt64, replicas[i])
			pieces = append(pieces, piece{text: []byte(fmt.Sprintf("%q:[", s.ID))}, piece{scan: rows}, piece{text: []byte("],")})
		}
		return &rangeReader{pieces: append(pieces, piece{text: []byte(`"status":"success"}`)})}
	})
}
