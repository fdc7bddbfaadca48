package database

import (
	"context"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/router/routes"
)

// echo stands for bus and shard servers: what is appended is done.
type echo struct {
	Logs
	seq     atomic.Uint64
	publish func(string, []byte)
}

func (e *echo) Append(_ context.Context, log events.LogID, id string, data []byte) (uint64, error) {
	batch, err := shardlog.DecodeBatch(data)
	if err != nil {
		return 0, err
	}
	seq := e.seq.Add(1)
	results, err := json.Marshal(shardlog.Results{Batch: id, Table: log.Table, Shard: log.Shard, Seq: seq, Ops: len(batch.Ops)})
	go e.publish("", results)
	return seq, err
}

func (e *echo) State(context.Context, events.LogID) (shardlog.LogState, error) {
	return shardlog.LogState{}, nil
}

func (e *echo) Listen(_ string, fn func(string, []byte)) (func(), error) {
	e.publish = fn
	return func() {}, nil
}

// BenchmarkWrite is what a router does for /write between its HTTP server and
// its bus.
func BenchmarkWrite(b *testing.B) {
	e := &echo{}
	d, err := New(DefaultConfig(), e, e, nil, prometheus.NewRegistry(), testkit.Quiet)
	if err != nil {
		b.Fatal(err)
	}
	route := events.TableRoute{
		Table:  events.Table{Name: "StudT", Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}}, Shards: []events.Shard{{ID: "sh1", Low: 0, Size: 1 << 40}}},
		Shards: []events.ShardRoute{{Shard: "sh1", Log: events.ShardLog{Incarnation: "one"}}},
	}
	value, err := json.Marshal(route)
	testkit.Must(b, err)
	testkit.Must(b, d.Remember("StudT", routes.Known{Route: value}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	<-d.Began()
	var key atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod("POST")
		var body []byte
		for pb.Next() {
			ctx.Request.Reset()
			ctx.Request.Header.SetMethod("POST")
			ctx.Response.Reset()
			body = append(strconv.AppendInt(append(body[:0], `{"data":[{"Stud_id":`...), key.Add(1), 10), `,"Stud_name":"Student 2z"}]}`...)
			ctx.Request.SetBodyRaw(body)
			if d.Serve(&ctx, []byte("/write")); ctx.Response.StatusCode() != 200 {
				b.Errorf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
				return
			}
		}
	})
}
