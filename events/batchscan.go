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
	ops := opScanner{text: string(s.rest)}
	if b.Ops, whole = ops.ops(); !whole {
		return b, false
	}
	return b, ops.text[ops.at:] == "}"
}

func (s *scanner) string(to *string) bool {
	if len(s.rest) == 0 || s.rest[0] != '"' {
		return false
	}
	text, err := s.text()
	*to = text
	return err == nil
}

// opScanner reads ops as Op.Append writes them, and shares memory with text.
type opScanner struct {
	text    string
	at      int
	rows    []Row // in memory that many ops share; where it ends, append makes more
	values  []Value
	columns int // of the last row
}

// next passes token if it comes next.
func (s *opScanner) next(token string) bool {
	if !strings.HasPrefix(s.text[s.at:], token) {
		return false
	}
	s.at += len(token)
	return true
}

// pass passes c if it comes next.
func (s *opScanner) pass(c byte) bool {
	if s.at == len(s.text) || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

// ops reads them up to their closing bracket.
func (s *opScanner) ops() ([]Op, bool) {
	n := min(strings.Count(s.text, `{"op":`), MaxBatchOps)
	ops := make([]Op, n)
	s.rows = make([]Row, 0, n)
	for i := range ops {
		if !s.op(&ops[i]) {
			return nil, false
		}
		if s.pass(']') {
			return ops[:i+1], true
		}
		if !s.pass(',') {
			return nil, false
		}
	}
	return nil, false
}

func (s *opScanner) op(o *Op) bool {
	if s.next(`{"op":"insert"`) { // Fast path: most are
		o.Kind = OpInsert
	} else if !s.next(`{"op":`) || !s.string(&o.Kind) {
		return false
	}
	if s.next(`,"rows":[`) && !s.list(&o.Rows) {
		return false
	}
	if s.next(`,"key":`) {
		v, ok := s.value()
		key, err := v.Int64()
		if !ok || err != nil {
			return false
		}
		o.Key = &key
	}
	if s.next(`,"idempotency":{"key":`) {
		o.Idempotency = &Idempotency{}
		if !s.string(&o.Idempotency.Key) || !s.next(`,"body":`) || !s.string(&o.Idempotency.Body) || !s.pass('}') {
			return false
		}
	}
	return s.pass('}')
}

// list reads rows up to their closing bracket.
func (s *opScanner) list(to *[]Row) bool {
	rows := s.rows[len(s.rows):]
	for {
		row, ok := s.row()
		if !ok {
			return false
		}
		rows = append(rows, row)
		if s.pass(']') {
			*to, s.rows = taken(rows, s.rows)
			return true
		}
		if !s.pass(',') {
			return false
		}
	}
}

func (s *opScanner) row() (row Row, ok bool) {
	if cap(s.values)-len(s.values) < s.columns {
		most := (len(s.text) - s.at) / len("1,")
		s.values = make([]Value, 0, min(max(cap(s.rows)*s.columns, 2*cap(s.values)), most))
	}
	values := s.values[len(s.values):]
	for separator := byte('['); s.pass(separator); separator = ',' {
		v, ok := s.value()
		if !ok || len(values) == MaxColumns {
			return nil, false
		}
		values = append(values, v)
	}
	row, s.values = taken(values, s.values)
	s.columns = len(row)
	return row, len(row) > 0 && s.pass(']')
}

// value reads one that is written as Value.append does, and so is JSON.
func (s *opScanner) value() (Value, bool) {
	v, end, ok := scanValue(s.text, s.at)
	ok = ok && (!v.number || v.text == s.text[s.at:end])
	s.at = end
	return v, ok
}

func (s *opScanner) string(to *string) bool {
	if !s.pass('"') {
		return false
	}
	v, end, ok := scanText(s.text, s.at)
	*to, s.at = v.text, end
	return ok
}

// taken is what was appended behind the end of room, and room without it.
func taken[T any](list, room []T) (got, left []T) {
	if n := len(room) + len(list); n <= cap(room) {
		room = room[:n]
	}
	return list[:len(list):len(list)], room
}
