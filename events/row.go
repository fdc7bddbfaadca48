package events

import (
	"encoding/json"
	"fmt"
	"slices"
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
	s := scanner{rest: b}
	if !s.take('[') {
		return fmt.Errorf("row: %s is no array of values", s.kind())
	}
	row := make(Row, 0, max(len(*r), 4))
	for !s.take(']') {
		if len(row) > 0 && !s.take(',') || len(row) == MaxColumns {
			return fmt.Errorf("row: want at most %d values between [ and ]", MaxColumns)
		}
		v, err := s.value()
		if err != nil {
			return fmt.Errorf("row: value %d: %w", len(row)+1, err)
		}
		row = append(row, v)
	}
	if s.skip(); len(s.rest) > 0 {
		return fmt.Errorf("row: more after its end")
	}
	*r = row
	return nil
}

// ReadRow reads a row as clients write it, an object with every column of the
// schema and no other. Its errors name the column.
func (s *Schema) ReadRow(object []byte) (Row, error) {
	if !json.Valid(object) {
		return nil, StatusErrorf(400, "row: not JSON")
	}
	in := scanner{rest: object}
	if !in.take('{') {
		return nil, StatusErrorf(400, "row: %s is no object", in.kind())
	}
	row := make(Row, len(s.Columns))
	for n := 0; !in.take('}'); n++ {
		if n > 0 {
			in.take(',') // it is there: the object is valid JSON
		}
		i, name, err := in.column(s.Columns)
		switch {
		case err != nil:
			return nil, StatusErrorf(400, "row: %s", err)
		case i < 0:
			return nil, StatusErrorf(400, "%s: no such column", shorten(name))
		case row[i].set:
			return nil, StatusErrorf(400, "%s: given twice", name)
		}
		in.take(':')
		if row[i], err = in.value(); err != nil {
			return nil, StatusErrorf(400, "%s: %s", name, err)
		}
	}
	if err := s.Check(row); err != nil {
		return nil, err
	}
	return row, nil
}

// column reads a name and finds it in columns; -1 if it is not there.
func (s *scanner) column(columns []string) (int, string, error) {
	for i, name := range columns { // Fast path: identifiers need no escape
		if s.skip(); len(s.rest) > len(name)+1 && s.rest[0] == '"' && string(s.rest[1:len(name)+1]) == name && s.rest[len(name)+1] == '"' {
			s.rest = s.rest[len(name)+2:]
			return i, name, nil
		}
	}
	name, err := s.text()
	return slices.Index(columns, name), name, err
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
