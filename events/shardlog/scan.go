package shardlog

import (
	"encoding/json"
	"strconv"
	"strings"

	"ringway/events/rowjson"
)

// Append writes the op as json.Marshal does, without its detours: every write
// of a client is an op.
func (o *Op) Append(to []byte) []byte {
	to = append(append(append(to, `{"op":"`...), o.Kind...), '"')
	for i, row := range o.Rows {
		if i == 0 {
			to = append(to, `,"rows":[`...)
		} else {
			to = append(to, ',')
		}
		to = row.Append(to)
	}
	if len(o.Rows) > 0 {
		to = append(to, ']')
	}
	if o.Key != nil {
		to = strconv.AppendInt(append(to, `,"key":`...), *o.Key, 10)
	}
	if o.Idempotency != nil {
		to = rowjson.AppendText(append(to, `,"idempotency":{"key":`...), o.Idempotency.Key)
		to = append(rowjson.AppendText(append(to, `,"body":`...), o.Idempotency.Body), '}')
	}
	return append(to, '}')
}

// unmarshalBatch reads a batch. Three replicas read each one: what looks as
// writers write it is read without reflection.
func unmarshalBatch(b []byte) (Batch, error) {
	if batch, ok := scanBatch(string(b)); ok {
		return batch, nil
	}
	// Slow path: other spacing, another order of fields, or no batch
	var batch Batch
	err := json.Unmarshal(b, &batch)
	return batch, err
}

// scanBatch reads a batch whose ops are as Op.Append writes them.
func scanBatch(text string) (b Batch, whole bool) {
	r := rowjson.NewExactReader(text)
	if !r.Field(`{"id":`, &b.ID) || !r.Field(`,"writer":`, &b.Writer) || !r.Field(`,"table":`, &b.Table) || !r.Field(`,"shard":`, &b.Shard) || !r.Literal(`,"ops":[`) {
		return b, false
	}
	// The ops share memory, and are dropped together once they are applied. Positions keep the id.
	for _, name := range []*string{&b.ID, &b.Writer, &b.Table, &b.Shard} {
		*name = strings.Clone(*name)
	}
	b.Ops = make([]Op, 0, min(strings.Count(text, `{"op":`), MaxBatchOps))
	whole = r.List(func() bool {
		b.Ops = append(b.Ops, Op{})
		return scanOp(&r, &b.Ops[len(b.Ops)-1])
	})
	return b, whole && r.Literal("}") && r.End()
}

func scanOp(r *rowjson.Reader, o *Op) bool {
	if r.Literal(`{"op":"insert"`) { // Fast path: most are
		o.Kind = OpInsert
	} else if !r.Field(`{"op":`, &o.Kind) {
		return false
	}
	if r.Literal(`,"rows":[`) && !r.List(func() bool {
		row, err := r.Row()
		o.Rows = append(o.Rows, row)
		return err == nil && len(row) > 0
	}) {
		return false
	}
	if r.Literal(`,"key":`) {
		key, ok := r.Int()
		if !ok {
			return false
		}
		o.Key = &key
	}
	if r.Literal(`,"idempotency":`) {
		i := &Idempotency{}
		if !r.Field(`{"key":`, &i.Key) || !r.Field(`,"body":`, &i.Body) || !r.Literal("}") {
			return false
		}
		o.Idempotency = i
	}
	return r.Literal("}")
}

// unmarshalResults reads results. Most are of batches that are done, as
// appliers write them: those are read without reflection.
func unmarshalResults(b []byte) (Results, error) {
	if r, ok := scanResults(string(b)); ok {
		return r, nil
	}
	// Slow path: notable results, other spacing, or no results
	var r Results
	err := json.Unmarshal(b, &r)
	return r, err
}

func scanResults(text string) (r Results, whole bool) {
	in := rowjson.NewExactReader(text)
	if !in.Field(`{"batch":`, &r.Batch) || !in.Field(`,"table":`, &r.Table) || !in.Field(`,"shard":`, &r.Shard) || !in.Literal(`,"seq":`) {
		return r, false
	}
	seq, isSeq := in.Uint()
	if !isSeq || !in.Literal(`,"ops":`) {
		return r, false
	}
	ops, isCount := in.Int()
	r.Seq, r.Ops = seq, int(ops)
	return r, isCount && int64(r.Ops) == ops && in.Literal("}") && in.End()
}
