package state

import (
	"cmp"
	"slices"
	"strings"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// Fresh is Settle for the usual case: entries that only insert, while nothing
// of theirs, no key and no batch, is there before. That is for the caller to
// find out, by an insertion that fails if it is not so. It reports false where
// entries need Settle: they do something else, follow no position, meet one
// another, or have an op that does not fit the table.
func Fresh(spec *events.ShardSpec, before *Before, entries []shardlog.Entry) (Change, bool) {
	type keyed struct {
		key int64
		at  int // in c.Insert, while that is in the order of the log
	}
	c := Change{
		Position: before.Position, Clock: before.Clock,
		Answers: make([]shardlog.Results, 0, len(entries)), Results: make([]shardlog.KeptResults, 0, len(entries)),
	}
	n := rowsOf(entries)
	c.Insert = make([]rowjson.Row, 0, n)
	keys := make([]keyed, 0, n)
	for i := range entries {
		e := &entries[i]
		if e.Seq != c.Position.Seq+1 || e.Batch.Table != spec.Table || e.Batch.Shard != spec.Shard.ID {
			return Change{}, false
		}
		c.Position.Seq, c.Position.Batch = e.Seq, e.Batch.ID
		c.Clock = advance(c.Clock, e.Time)
		for j := range e.Batch.Ops {
			op := &e.Batch.Ops[j]
			if op.Kind == shardlog.OpUpdate || op.Kind == shardlog.OpDelete || op.Idempotency != nil || op.Validate(&spec.Schema, spec.Shard) != nil {
				return Change{}, false
			}
			for _, row := range op.Rows {
				keys = append(keys, keyed{row.Key(), len(keys)})
				c.Insert = append(c.Insert, row)
			}
		}
		r := shardlog.Results{Batch: e.Batch.ID, Table: spec.Table, Shard: spec.Shard.ID, Seq: e.Seq, Ops: len(e.Batch.Ops)}
		c.Answers = append(c.Answers, r)
		c.Results = append(c.Results, shardlog.KeptResults{At: c.Clock, Results: r})
	}
	rising := func(a, b keyed) int { return cmp.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(keys, rising) {
		slices.SortFunc(keys, rising)
		sorted := make([]rowjson.Row, n)
		for i := range keys {
			sorted[i] = c.Insert[keys[i].at]
		}
		c.Insert = sorted
	}
	for i := 1; i < len(keys); i++ {
		if keys[i].key == keys[i-1].key {
			return Change{}, false
		}
	}
	slices.SortFunc(c.Results, func(a, b shardlog.KeptResults) int { return strings.Compare(a.Results.Batch, b.Results.Batch) })
	for i := 1; i < len(c.Results); i++ {
		if c.Results[i].Results.Batch == c.Results[i-1].Results.Batch {
			return Change{}, false
		}
	}
	return c, true
}
