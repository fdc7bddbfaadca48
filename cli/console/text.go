package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ringway/events"
)

// Compact writes an object as key=value, in the order of keys, and a position
// in a log as incarnation/seq; what else is nested stays JSON.
func Compact(data json.RawMessage) string {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return string(data)
	}
	var parts []string
	for k, raw := range object {
		var s string
		var at events.Position
		if json.Unmarshal(raw, &s) != nil {
			if json.Unmarshal(raw, &at) == nil && at.Incarnation != "" {
				parts = append(parts, k+"="+fmt.Sprintf("%s/%d", at.Incarnation, at.Seq))
				continue
			}
			var b bytes.Buffer
			_ = json.Compact(&b, raw) // it was decoded, so it is JSON
			s = b.String()
		} else if s == "" || strings.ContainsAny(s, " =\"\n\t") {
			s = fmt.Sprintf("%q", s)
		}
		parts = append(parts, k+"="+s)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// Count is a number of things, in words.
func Count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
