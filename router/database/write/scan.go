package write

import (
	"strings"

	"ringway/events"
)

// scanWrite reads {"data":[row, …]}, what most calls of /write are, in one
// pass. The rows are those that parseObject and ReadRow find, and share memory
// with body; nil if it is anything else: parse it with care then, and say what.
func scanWrite(schema *events.Schema, body string) []events.Row {
	at, ok := passes(body, 0, "{")
	if !ok {
		return nil
	}
	if at, ok = passes(body, at, `"data"`); !ok {
		return nil
	}
	if at, ok = passes(body, at, ":"); !ok {
		return nil
	}
	var rows []events.Row
	for more := "["; ; more = "," {
		if at, ok = passes(body, at, more); !ok {
			break
		}
		var row events.Row
		if row, at, ok = schema.ScanRow(body, at); !ok {
			return nil
		}
		rows = append(rows, row)
	}
	if at, ok = passes(body, at, "]"); !ok {
		return nil
	}
	if at, ok = passes(body, at, "}"); !ok || events.Blank(body, at) < len(body) {
		return nil
	}
	return rows
}

// passes reports whether token comes next, and where it ends.
func passes(text string, at int, token string) (int, bool) {
	at = events.Blank(text, at)
	if !strings.HasPrefix(text[at:], token) {
		return at, false
	}
	return at + len(token), true
}
