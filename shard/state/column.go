package state

import (
	"fmt"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
)

// KindsColumn says beside a row which of its String columns hold numbers.
// No column of a table can have its name.
const KindsColumn = "_kinds"

// Kinds is the content of KindsColumn for a row: a letter for each column, n
// for a number and s for a string, or nothing if no String column holds a
// number.
func Kinds(schema *events.Schema, row rowjson.Row) string {
	odd := false
	for i, v := range row {
		odd = odd || v.IsNumber() && schema.DTypes[i] == events.DTypeString
	}
	if !odd {
		return ""
	}
	kinds := make([]byte, len(row))
	for i, v := range row {
		kinds[i] = 's'
		if v.IsNumber() {
			kinds[i] = 'n'
		}
	}
	return string(kinds)
}

// ReadRow is the row whose columns hold these texts.
func ReadRow(schema *events.Schema, key int64, texts []string, kinds string) (rowjson.Row, error) {
	if len(texts) != len(schema.Columns)-1 || kinds != "" && len(kinds) != len(schema.Columns) {
		return nil, fmt.Errorf("read row %d: %d columns of kinds %q do not fit the schema", key, len(texts)+1, kinds)
	}
	row := make(rowjson.Row, len(schema.Columns))
	row[0] = rowjson.Int(key)
	for i, text := range texts {
		if schema.DTypes[i+1] == events.DTypeString && (kinds == "" || kinds[i+1] == 's') {
			row[i+1] = rowjson.Text(text)
			continue
		}
		v, err := rowjson.Number(text)
		if err != nil {
			return nil, fmt.Errorf("read row %d: %s: %w", key, schema.Columns[i+1], err)
		}
		row[i+1] = v
	}
	return row, nil
}

// Nanos is a time of a log as a column holds it; the zero time is 0.
func Nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// FromNanos is the reverse of Nanos.
func FromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// OutOfDate is the newest time, as Nanos has it, of what is no longer kept.
func OutOfDate(clock time.Time, kept time.Duration) int64 { return Nanos(clock) - int64(kept) }
