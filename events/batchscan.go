package events

import (
	"encoding/json"
	"strconv"
	"strings"
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
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
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
	if !s.next(`,"ops":[`) {
		return b, false
	}
	// What follows is dropped together, once it is applied. What stands above may be kept.
	s.whole = string(s.rest)
	n := min(strings.Count(s.whole, `{"op":`), MaxBatchOps)
	b.Ops = make([]Op, 0, n)
	room := opRoom{rows: make([]Row, 0, n), values: make([]Value, 0, 4*n)}
	whole = s.list(func() bool {
		op, ok := s.op(&room)
		b.Ops = append(b.Ops, op)
		return ok
	})
	return b, whole && string(s.rest) == "}"
}

// opRoom is memory for the parts of many ops. It is a piece of it that an op
// gets; where it ends, append makes more.
type opRoom struct {
	rows   []Row
	values []Value
}

func (s *scanner) string(to *string) bool {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return false
	}
	text, err := s.text()
	*to = text
	return err == nil
}

func (s *scanner) op(room *opRoom) (o Op, whole bool) {
	if !s.next(`{"op":`) || !s.string(&o.Kind) {
		return o, false
	}
	if s.next(`,"rows":[`) {
		rows := room.rows[len(room.rows):]
		if !s.list(func() bool {
			row, ok := s.row(room)
			rows = append(rows, row)
			return ok
		}) {
			return o, false
		}
		o.Rows, room.rows = taken(rows, room.rows)
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

func (s *scanner) row(room *opRoom) (Row, bool) {
	values := room.values[len(room.values):]
	ok := s.next("[") && s.list(func() bool {
		v, ok := s.canonical()
		values = append(values, v)
		return ok && len(values) <= MaxColumns
	})
	row, left := taken(values, room.values)
	room.values = left
	return row, ok
}

// taken is what was appended behind the end of room, and room without it.
func taken[T any](list, room []T) (got, left []T) {
	if n := len(room) + len(list); n <= cap(room) {
		room = room[:n]
	}
	return list[:len(list):len(list)], room
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
