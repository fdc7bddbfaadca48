package storetest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// Any log, gathered into transactions in any way, leads to the state and the
// results of the model, which takes one op after another.
func anyLogLikeTheModel(f *fixture) {
	n := 0
	rapid.Check(f.T, func(t *rapid.T) {
		n++
		f.spec.Shard = events.Shard{ID: fmt.Sprintf("p%d", n%3), Low: -3, Size: 12}
		f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
		f.create()
		for range rapid.IntRange(1, 6).Draw(t, "transactions") {
			reopenSometimes(f, t)
			f.apply(drawEntries(f, t)...)
		}
		f.agree()
	})
}

func reopenSometimes(f *fixture, t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "reopen") > 0 {
		return
	}
	store, err := f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
	f.store = store
}

func drawEntries(f *fixture, t *rapid.T) []shardlog.Entry {
	var entries []shardlog.Entry
	for i := range rapid.IntRange(1, 8).Draw(t, "batches") {
		seq := f.model.position.Seq + uint64(i) + 1
		id := fmt.Sprintf("b%d", seq)
		if seq > 1 && rapid.IntRange(0, 5).Draw(t, "repeat") == 0 {
			id = fmt.Sprintf("b%d", rapid.Uint64Range(1, seq-1).Draw(t, "of"))
		}
		steps := []time.Duration{time.Second, -time.Minute, 4 * time.Minute, 11 * time.Minute, 13 * time.Hour, 0}
		f.now = f.now.Add(rapid.SampledFrom(steps).Draw(t, "step"))
		entries = append(entries, shardlog.Entry{Seq: seq, Time: f.now, Batch: shardlog.Batch{
			ID: id, Writer: "r1", Table: f.spec.Table, Shard: f.spec.Shard.ID, Ops: rapid.SliceOfN(rapid.Custom(drawOp), 1, 6).Draw(t, "ops"),
		}})
	}
	return entries
}

func drawOp(t *rapid.T) shardlog.Op {
	var op shardlog.Op
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2, 3:
		op = insert(rapid.SliceOfN(rapid.Custom(drawRow), 1, 4).Draw(t, "rows")...)
	case 4, 5, 6:
		op = update(drawRow(t))
	case 7, 8:
		op = remove(drawKey(t))
	default:
		op = shardlog.Op{Kind: rapid.SampledFrom([]string{shardlog.OpBarrier, shardlog.OpDigest}).Draw(t, "marker")}
	}
	if rapid.IntRange(0, 3).Draw(t, "idempotent") == 0 {
		op = with(op, rapid.SampledFrom([]string{"k", "K", "k ", "~"}).Draw(t, "key"), rapid.SampledFrom([]string{"b1", "b2"}).Draw(t, "body"))
	}
	return op
}

func drawKey(t *rapid.T) int64 { return rapid.Int64Range(-4, 9).Draw(t, "id") } // the ends lie outside

func drawRow(t *rapid.T) rowjson.Row {
	return rowjson.Row{rowjson.Int(drawKey(t)), drawValue(t), drawValue(t), drawNumber(t)}
}

func drawValue(t *rapid.T) rowjson.Value {
	if rapid.Bool().Draw(t, "number") {
		return drawNumber(t)
	}
	return rowjson.Text(rapid.String().Draw(t, "text"))
}

func drawNumber(t *rapid.T) rowjson.Value {
	s := rapid.StringMatching(`-?(0|[1-9][0-9]{0,34})(\.[0-9]{1,30})?`).Draw(t, "digits")
	v, err := rowjson.Number(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}
