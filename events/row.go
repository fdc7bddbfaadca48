package events

import (
	"encoding/json"
	"fmt"
)

// Row is one row of a table: a value for each column of its schema, in its
// order, the key first. In JSON it is an array.
type Row []Value

// Key is the row's key; 0 for a row without one.
func (r Row) Key() int64 {
	if len(r) == 0 {
		return 0
	}
	key, _ := r[0].Int64() // rows are checked before they are keyed
	return key
}

// MarshalJSON implements json.Marshaler.
func (r Row) MarshalJSON() ([]byte, error) { return r.append(nil), nil }

func (r Row) append(to []byte) []byte {
	to = append(to, '[')
	for i, v := range r {
		if i > 0 {
			to = append(to, ',')
		}
		to = v.append(to)
	}
	return append(to, ']')
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Row) UnmarshalJSON(b []byte) error {
	in := NewReader(string(b))
	row, err := in.Row()
	if err != nil {
		return err
	}
	if !in.End() {
		return fmt.Errorf("row: more after its end")
	}
	*r = row
	return nil
}

// ReadRow reads a row as clients write it, an object with every column of the
// schema and no other. Its errors name the column.
func (s *Schema) ReadRow(object []byte) (Row, error) {
	in := NewReader(string(object))
	row, err := s.NextRow(&in)
	if (err != nil || !in.End()) && !json.Valid(object) {
		return nil, StatusErrorf(400, "row: not JSON")
	}
	return row, err
}

// NextRow reads a row as ReadRow does from where in is. It shares memory with
// the text of in.
func (s *Schema) NextRow(in *Reader) (Row, error) {
	row, err := in.Object(s.Columns)
	if err != nil {
		return nil, StatusErrorf(400, "%s", err)
	}
	return row, s.Check(row)
}

// ScanRow is NextRow at text[at:], and where the row ends.
func (s *Schema) ScanRow(text string, at int) (row Row, end int, ok bool) {
	in := Reader{text: text, at: at}
	row, err := s.NextRow(&in)
	return row, in.at, err == nil
}

// Blank is the first place from at on that is not white space of JSON.
func Blank(text string, at int) int {
	for at < len(text) && space(text[at]) {
		at++
	}
	return at
}

// Check accepts a row that a replica can hold: every column, of its type, the
// key a 64-bit integer. Its errors name the column.
func (s *Schema) Check(row Row) error {
	_, err := s.check(row)
	return err
}

// check is Check, and the row's key.
func (s *Schema) check(row Row) (int64, error) {
	if len(row) != len(s.Columns) {
		return 0, StatusErrorf(400, "row: %d values for %d columns", len(row), len(s.Columns))
	}
	for i, v := range row {
		if v.number { // bounded when it was made, and any column holds it
			continue
		}
		if err := v.check(); err != nil {
			return 0, StatusErrorf(400, "%s: %s", s.Columns[i], err)
		}
		if s.DTypes[i] == DTypeNumber {
			return 0, StatusErrorf(400, "%s: %s is no number", s.Columns[i], v.shown())
		}
	}
	key, err := row[0].Int64()
	if err != nil {
		return 0, StatusErrorf(400, "%s: %s", s.Columns[0], err)
	}
	return key, nil
}

// AppendRow writes a checked row as clients read it, an object.
func (s *Schema) AppendRow(to []byte, row Row) []byte {
	to = append(to, '{')
	for i, name := range s.Columns {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(append(to, '"'), name...), '"', ':') // identifiers need no escape
		to = row[i].append(to)
	}
	return append(to, '}')
}
