package rowcache

import (
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// A transaction of 50 rows of about 80 bytes, with memory full, which nobody
// reads.
func BenchmarkCachedRows_Applied(b *testing.B) {
	c := &Rows{cache: New(11 << 20), schema: twoColumns}
	c.Begin(events.Position{Incarnation: "l"})
	ops := make([]shardlog.Op, 50)
	for i := range ops {
		ops[i] = shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{{rowjson.Int(0), rowjson.Text(strings.Repeat("x", 54))}}}
	}
	entries := []shardlog.Entry{{Batch: shardlog.Batch{ID: "b", Ops: ops}}}
	done := []shardlog.Results{{Ops: len(ops)}}
	next := int64(0)
	apply := func() {
		for i := range ops {
			next++
			ops[i].Rows[0][0] = rowjson.Int(next * 7919 % (1 << 26))
		}
		entries[0].Seq++
		done[0].Seq = entries[0].Seq
		c.Applied(entries, done)
	}
	for range 10_000 {
		apply()
	}
	b.ReportAllocs()
	for b.Loop() {
		apply()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ops)), "ns/row")
}
