package storetest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// model is a replica as simple as it can be: one op after another on a map. It
// shares no code with what it is compared to.
type model struct {
	spec     events.ShardSpec
	position events.Position
	clock    time.Time
	rows     map[int64]rowjson.Row
	results  map[string]shardlog.KeptResults
	keys     map[string]shardlog.KeptIdempotency
}

func newModel(spec events.ShardSpec, incarnation string) *model {
	return &model{
		spec: spec, position: events.Position{Incarnation: incarnation}, rows: map[int64]rowjson.Row{},
		results: map[string]shardlog.KeptResults{}, keys: map[string]shardlog.KeptIdempotency{},
	}
}

func (m *model) apply(e shardlog.Entry) shardlog.Results {
	m.position.Seq, m.position.Batch = e.Seq, e.Batch.ID
	if e.Time.After(m.clock) {
		m.clock = e.Time.UTC()
	}
	maps.DeleteFunc(m.results, func(_ string, k shardlog.KeptResults) bool { return m.clock.Sub(k.At) >= 10*time.Minute })
	maps.DeleteFunc(m.keys, func(_ string, k shardlog.KeptIdempotency) bool { return m.clock.Sub(k.At) >= 24*time.Hour })
	if k, repeated := m.results[e.Batch.ID]; repeated {
		return k.Results
	}
	r := shardlog.Results{Batch: e.Batch.ID, Table: m.spec.Table, Shard: m.spec.Shard.ID, Seq: e.Seq, Ops: len(e.Batch.Ops)}
	for i, op := range e.Batch.Ops {
		n := m.op(op, shardlog.OpID(e.Batch.ID, i))
		n.Op = i
		if n.Outcome != shardlog.Done || n.Of != "" {
			r.Notable = append(r.Notable, n)
		}
	}
	m.results[e.Batch.ID] = shardlog.KeptResults{At: m.clock, Results: r}
	return r
}

func (m *model) op(op shardlog.Op, id string) shardlog.Result {
	for _, row := range op.Rows {
		if key := row.Key(); key < m.spec.Shard.Low || key >= m.spec.Shard.Low+m.spec.Shard.Size {
			return shardlog.Result{Outcome: shardlog.Invalid, Detail: outside(m.spec, key)}
		}
	}
	if op.Key != nil && (*op.Key < m.spec.Shard.Low || *op.Key >= m.spec.Shard.Low+m.spec.Shard.Size) {
		return shardlog.Result{Outcome: shardlog.Invalid, Detail: outside(m.spec, *op.Key)}
	}
	if i := op.Idempotency; i != nil {
		if k, used := m.keys[i.Key]; used {
			if k.Body != i.Body {
				return shardlog.Result{Outcome: shardlog.Mismatch, Of: k.Op}
			}
			again := k.First
			again.Of = k.Op
			return again
		}
		first := m.do(op)
		m.keys[i.Key] = shardlog.KeptIdempotency{Idempotency: *i, At: m.clock, Op: id, First: first}
		return first
	}
	return m.do(op)
}

func outside(spec events.ShardSpec, key int64) string {
	op := shardlog.Op{Kind: shardlog.OpDelete, Key: &key}
	return op.Validate(&spec.Schema, spec.Shard).Error() // the words are the contract's
}

func (m *model) do(op shardlog.Op) shardlog.Result {
	var bad []int64
	switch op.Kind {
	case shardlog.OpInsert:
		there := maps.Clone(m.rows)
		for _, row := range op.Rows {
			if there[row.Key()] != nil {
				bad = append(bad, row.Key())
			}
			there[row.Key()] = row
		}
		if len(bad) > 0 {
			return shardlog.Result{Outcome: shardlog.Duplicate, Keys: bad[:min(100, len(bad))], Count: len(bad)}
		}
		m.rows = there
	case shardlog.OpUpdate:
		if m.rows[op.Rows[0].Key()] == nil {
			return shardlog.Result{Outcome: shardlog.Missing, Keys: []int64{op.Rows[0].Key()}, Count: 1}
		}
		m.rows[op.Rows[0].Key()] = op.Rows[0]
	case shardlog.OpDelete:
		if m.rows[*op.Key] == nil {
			return shardlog.Result{Outcome: shardlog.Missing, Keys: []int64{*op.Key}, Count: 1}
		}
		delete(m.rows, *op.Key)
	}
	return shardlog.Result{Outcome: shardlog.Done}
}

func byTime(a, b shardlog.KeptResults) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Results.Batch, b.Results.Batch))
}

// Head and Items make the model a snapshot of itself.
func (m *model) Head() shardapi.CopyHead {
	return shardapi.CopyHead{Spec: m.spec, Position: m.position, Clock: m.clock}
}

func (m *model) Items(_ context.Context, fn func(shardapi.CopyItem) error) error {
	var all []shardapi.CopyItem
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		all = append(all, shardapi.CopyItem{Row: m.rows[key]})
	}
	for _, k := range slices.SortedFunc(maps.Values(m.results), byTime) {
		all = append(all, shardapi.CopyItem{Results: &k})
	}
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		k := m.keys[key]
		all = append(all, shardapi.CopyItem{Idempotency: &k})
	}
	for _, item := range all {
		if err := fn(item); err != nil {
			return err
		}
	}
	return nil
}
