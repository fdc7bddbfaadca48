package events

import (
	"bytes"
	"encoding/json"
	"strconv"
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
		to = row.append(to)
	}
	if len(o.Rows) > 0 {
		to = append(to, ']')
	}
	if o.Key != nil {
		to = strconv.AppendInt(append(to, `,"key":`...), *o.Key, 10)
	}
	if o.Idempotency != nil {
		to = AppendText(append(to, `,"idempotency":{"key":`...), o.Idempotency.Key)
		to = append(AppendText(append(to, `,"body":`...), o.Idempotency.Body), '}')
	}
	return append(to, '}')
}

// unmarshalBatch reads a batch. Three replicas read each one: what looks as
// writers write it is read without reflection.
func unmarshalBatch(b []byte) (Batch, error) {
	s := scanner{rest: b}
	if batch, ok := s.batch(); ok {
		return batch, nil
	}
	// Slow path: other spacing, another order of fields, or no batch
	var batch Batch
	err := json.Unmarshal(b, &batch)
	return batch, err
}

// next passes text if it comes next.
func (s *scanner) next(text string) bool {
	rest, ok := bytes.CutPrefix(s.rest, []byte(text))
	s.rest = rest
	return ok
}

// list passes elements, of which there is one at least, to their closing bracket.
func (s *scanner) list(element func() bool) bool {
	for element() {
		if s.next("]") {
			return true
		}
		if !s.next(",") {
			return false
		}
	}
	return false
}

func (s *scanner) batch() (b Batch, whole bool) {
	for _, f := range [...]struct {
		name string
		to   *string
	}{{`{"id":`, &b.ID}, {`,"writer":`, &b.Writer}, {`,"table":`, &b.Table}, {`,"shard":`, &b.Shard}} {
		if !s.next(f.name) || !s.string(f.to) {
			return b, false
		}
	}
	whole = s.next(`,"ops":[`) && s.list(func() bool {
		op, ok := s.op()
		b.Ops = append(b.Ops, op)
		return ok
	})
	return b, whole && string(s.rest) == "}"
}

func (s *scanner) string(to *string) bool {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return false
	}
	text, err := s.text()
	*to = text
	return err == nil
}

func (s *scanner) op() (o Op, whole bool) {
	if !s.next(`{"op":`) || !s.string(&o.Kind) {
		return o, false
	}
	if s.next(`,"rows":[`) && !s.list(func() bool {
		row, ok := s.row()
		o.Rows = append(o.Rows, row)
		return ok
	}) {
		return o, false
	}
	if s.next(`,"key":`) {
		v, ok := s.canonical()
		key, err := v.Int64()
		if !ok || err != nil {
			return o, false
		}
		o.Key = &key
	}
	if s.next(`,"idempotency":{"key":`) {
		o.Idempotency = &Idempotency{}
		if !s.string(&o.Idempotency.Key) || !s.next(`,"body":`) || !s.string(&o.Idempotency.Body) || !s.next("}") {
			return o, false
		}
	}
	return o, s.next("}")
}

func (s *scanner) row() (Row, bool) {
	row := make(Row, 0, 4)
	ok := s.next("[") && s.list(func() bool {
		v, ok := s.canonical()
		row = append(row, v)
		return ok && len(row) <= MaxColumns
	})
	return row, ok
}

// canonical reads a value that is written as Value.append does, and so is JSON.
func (s *scanner) canonical() (Value, bool) {
	if len(s.rest) > 0 && s.rest[0] == ' ' {
		return Value{}, false
	}
	before := s.rest
	v, err := s.value()
	written := before[:len(before)-len(s.rest)]
	return v, err == nil && (!v.number || string(written) == v.text)
}
