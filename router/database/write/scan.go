package write

import (
	"ringway/events"
	"ringway/events/rowjson"
)

// scanWrite reads {"data":[row, …]}, what most calls of /write are, in one
// pass. The rows are those that parseObject and ReadRow find, and share memory
// with body; nil if it is anything else, which the slow path parses.
func scanWrite(schema *events.Schema, body string) (rows []rowjson.Row) {
	in := rowjson.NewReader(body)
	if !in.Pass('{') || !in.Literal(`"data"`) || !in.Pass(':') || !in.Pass('[') {
		return nil
	}
	whole := in.List(func() bool {
		row, err := schema.NextRow(&in)
		rows = append(rows, row)
		return err == nil
	})
	if !whole || !in.Pass('}') || !in.End() {
		return nil
	}
	return rows
}
