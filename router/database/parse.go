package database

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"ringway/events"
)

// object is the top level of a request, in the order in which it came. Errors
// of its methods name the field.
type object []field

type field struct {
	name []byte
	raw  json.RawMessage // valid
}

// parseObject reads a body; other fields than those asked for do no harm.
func parseObject(body []byte) (object, error) {
	if !json.Valid(body) {
		return nil, notAnObject(body)
	}
	o, ok := fieldsOf(body)
	if !ok {
		return nil, events.StatusErrorf(400, "the body is no JSON object")
	}
	return o, nil
}

// notAnObject says what is wrong with a body that is not JSON.
func notAnObject(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	var o map[string]json.RawMessage
	if err := dec.Decode(&o); err != nil || o == nil {
		return events.StatusErrorf(400, "the body is no JSON object")
	}
	return events.StatusErrorf(400, "the body goes on after the JSON object")
}

// fieldsOf cuts valid JSON into fields; false if it is no object.
func fieldsOf(valid []byte) (object, bool) {
	in := cutter(valid)
	if !in.pass('{') {
		return nil, false
	}
	o := make(object, 0, 3)
	for !in.pass('}') {
		in.pass(',')
		name := in.value()
		in.pass(':')
		f := field{name: name[1 : len(name)-1], raw: in.value()}
		if bytes.IndexByte(name, '\\') >= 0 {
			var plain string
			if json.Unmarshal(name, &plain) != nil {
				return nil, false
			}
			f.name = []byte(plain)
		}
		o = append(o, f)
	}
	return o, true
}

// listOf cuts valid JSON into elements; false if it is no array.
func listOf(valid []byte) ([]json.RawMessage, bool) {
	in := cutter(valid)
	if !in.pass('[') {
		return nil, false
	}
	var all []json.RawMessage
	for !in.pass(']') {
		in.pass(',')
		all = append(all, in.value())
	}
	return all, true
}

// cutter is what is left of valid JSON.
type cutter []byte

func (in *cutter) skip() {
	for len(*in) > 0 && space((*in)[0]) {
		*in = (*in)[1:]
	}
}

// pass passes c if it comes next.
func (in *cutter) pass(c byte) bool {
	in.skip()
	ok := len(*in) > 0 && (*in)[0] == c
	if ok {
		*in = (*in)[1:]
	}
	return ok
}

// value passes the next value, of any kind.
func (in *cutter) value() []byte {
	in.skip()
	all, depth, n := *in, 0, 0
	for n < len(all) {
		c := all[n]
		n++
		switch {
		case c == '"':
			for ; n < len(all) && all[n] != '"'; n++ {
				if all[n] == '\\' {
					n++
				}
			}
			n++
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case depth == 0 && n < len(all) && !ends(all[n]): // in the middle of a number or a word
			continue
		}
		if depth == 0 {
			break
		}
	}
	n = min(n, len(all))
	*in = all[n:]
	return all[:n:n]
}

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

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func ends(c byte) bool { return c == ',' || c == ']' || c == '}' || space(c) }

// get finds a field; of some with one name the last counts.
func (o object) get(name string) (json.RawMessage, bool) {
	for i := len(o) - 1; i >= 0; i-- {
		if string(o[i].name) == name {
			return o[i].raw, true
		}
	}
	return nil, false
}

func (o object) raw(name string) json.RawMessage {
	raw, _ := o.get(name)
	return raw
}

func (o object) has(name string) bool {
	raw, ok := o.get(name)
	return ok && string(raw) != "null"
}

// text is a string; empty if it is not there.
func (o object) text(field string) (string, error) {
	raw, ok := o.get(field)
	if !ok {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", events.StatusErrorf(400, "%s is not a string", field)
	}
	return s, nil
}

// count is an integer that has to be there.
func (o object) count(field string) (int, error) {
	raw, ok := o.get(field)
	if !ok {
		return 0, events.StatusErrorf(400, "%s is missing", field)
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0, events.StatusErrorf(400, "%s is not an integer", field)
	}
	return n, nil
}

// list is an array that may be missing.
func (o object) list(field string) ([]json.RawMessage, error) {
	raw, _ := o.get(field)
	if !o.has(field) {
		return nil, nil
	}
	all, ok := listOf(raw)
	if !ok {
		return nil, events.StatusErrorf(400, "%s is not a list", field)
	}
	return all, nil
}

// key is a key of a table, as a number or a string.
func (o object) key(field string) (int64, error) {
	raw, ok := o.get(field)
	if !ok {
		return 0, events.StatusErrorf(400, "%s is missing", field)
	}
	return parseKey(field, raw, true)
}

func parseKey(field string, raw json.RawMessage, text bool) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, nil
	}
	// Slow path
	var v events.Value
	if err := json.Unmarshal(raw, &v); err != nil {
		return 0, events.StatusErrorf(400, "%s is not an integer", field)
	}
	if text && v.IsText() {
		var err error
		if v, err = events.Number(strings.TrimSpace(v.Raw())); err != nil {
			return 0, events.StatusErrorf(400, "%s is not an integer", field)
		}
	}
	key, err := v.Int64()
	if err != nil {
		return 0, events.StatusErrorf(400, "%s: %s", field, err)
	}
	return key, nil
}

// texts is a list of strings.
func texts(field string, raw json.RawMessage) ([]string, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil || all == nil {
		return nil, events.StatusErrorf(400, "%s is not a list", field)
	}
	found := make([]string, len(all))
	for i, raw := range all {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return nil, events.StatusErrorf(400, "%s[%d] is not a string", field, i)
		}
		found[i] = *s
	}
	return found, nil
}

// parsePlacements reads servers as /init and /add write them: an object whose
// order counts, with a list of shards for each name. A name with brackets asks
// for a random one.
func parsePlacements(raw json.RawMessage) ([]events.Placement, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, events.StatusErrorf(400, "servers is not an object")
	}
	placed := []events.Placement{}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, events.StatusErrorf(400, "servers is not an object")
		}
		name := fmt.Sprint(token) // keys of objects are strings
		var list json.RawMessage
		if err := dec.Decode(&list); err != nil {
			return nil, events.StatusErrorf(400, "servers is not an object")
		}
		field := fmt.Sprintf("servers.%.70s", name)
		shards, err := texts(field, list)
		if err != nil {
			return nil, err
		}
		for i, id := range shards {
			for _, before := range shards[:i] {
				if before == id {
					return nil, events.StatusErrorf(400, "%s names shard %.70s twice", field, id)
				}
			}
		}
		if strings.ContainsAny(name, "[]") {
			placed = append(placed, events.Placement{Shards: shards})
			continue
		}
		if err := events.ValidName(name); err != nil {
			return nil, events.StatusErrorf(400, "servers: %s", err)
		}
		if seen[name] {
			return nil, events.StatusErrorf(400, "servers: %s is named twice", name)
		}
		seen[name] = true
		placed = append(placed, events.Placement{Name: name, Shards: shards})
	}
	return placed, nil
}

// parseShards reads a list of shards as the course writes them: the low end is
// named after the key column.
func parseShards(field, key string, list []json.RawMessage) ([]events.Shard, error) {
	low := key + "_low"
	shards := make([]events.Shard, len(list))
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		o, ok := fieldsOf(raw)
		if !ok {
			return nil, events.StatusErrorf(400, "%s is not an object", at)
		}
		id, err := o.text("Shard_id")
		if err == nil && !o.has("Shard_id") {
			err = events.StatusErrorf(400, "Shard_id is missing")
		}
		s := &shards[i]
		s.ID = id
		for _, f := range []struct {
			name string
			to   *int64
		}{{low, &s.Low}, {"Shard_size", &s.Size}} {
			if raw, ok := o.get(f.name); err == nil && ok {
				*f.to, err = parseKey(f.name, raw, false)
			} else if err == nil {
				err = events.StatusErrorf(400, "%s is missing", f.name)
			}
		}
		if err != nil {
			return nil, events.StatusErrorf(400, "%s: %s", at, err)
		}
	}
	return shards, nil
}

// parseSchema reads the columns of a table.
func parseSchema(raw json.RawMessage) (events.Schema, error) {
	o, ok := fieldsOf(raw)
	if !ok {
		return events.Schema{}, events.StatusErrorf(400, "schema is not an object")
	}
	var s events.Schema
	for _, f := range []struct {
		name string
		to   *[]string
	}{{"columns", &s.Columns}, {"dtypes", &s.DTypes}} {
		raw, ok := o.get(f.name)
		if !ok {
			return events.Schema{}, events.StatusErrorf(400, "schema.%s is missing", f.name)
		}
		var err error
		if *f.to, err = texts("schema."+f.name, raw); err != nil {
			return events.Schema{}, err
		}
	}
	return s, nil
}
