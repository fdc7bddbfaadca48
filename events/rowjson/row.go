package rowjson

import "fmt"

// MaxColumns bounds a row.
const MaxColumns = 64

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
func (r Row) MarshalJSON() ([]byte, error) { return r.Append(nil), nil }

// Append appends r as JSON.
func (r Row) Append(to []byte) []byte {
	to = append(to, '[')
	for i, v := range r {
		if i > 0 {
			to = append(to, ',')
		}
		to = v.Append(to)
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
