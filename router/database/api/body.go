// Package api reads the bodies of requests to the tables' endpoints, and says
// what a client is told of an error.
package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"ringway/events/rowjson"
)

// Object is the top level of a request, in the order in which it came. Errors
// of its methods name the field.
type Object []Field

// Field is one field of an Object.
type Field struct {
	Name []byte
	Raw  json.RawMessage // valid
}

// ParseObject reads a body; other fields than those asked for do no harm.
func ParseObject(body []byte) (Object, error) {
	if !json.Valid(body) {
		return nil, notAnObject(body)
	}
	o, ok := Fields(body)
	if !ok {
		return nil, BadRequest("the body is no JSON object")
	}
	return o, nil
}

// notAnObject says what is wrong with a body that is not JSON.
func notAnObject(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	var o map[string]json.RawMessage
	if err := dec.Decode(&o); err != nil || o == nil {
		return BadRequest("the body is no JSON object")
	}
	return BadRequest("the body goes on after the JSON object")
}

// Fields cuts valid JSON into fields; false if it is no object.
func Fields(valid []byte) (Object, bool) {
	in := cutter(valid)
	if !in.pass('{') {
		return nil, false
	}
	o := make(Object, 0, 3)
	for !in.pass('}') {
		in.pass(',')
		name := in.value()
		in.pass(':')
		f := Field{Name: name[1 : len(name)-1], Raw: in.value()}
		if bytes.IndexByte(name, '\\') >= 0 {
			var plain string
			if json.Unmarshal(name, &plain) != nil {
				return nil, false
			}
			f.Name = []byte(plain)
		}
		o = append(o, f)
	}
	return o, true
}

// List cuts valid JSON into elements; false if it is no array.
func List(valid []byte) ([]json.RawMessage, bool) {
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

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func ends(c byte) bool { return c == ',' || c == ']' || c == '}' || space(c) }

// Get finds a field; of some with one name the last counts.
func (o Object) Get(name string) (json.RawMessage, bool) {
	for i := len(o) - 1; i >= 0; i-- {
		if string(o[i].Name) == name {
			return o[i].Raw, true
		}
	}
	return nil, false
}

// Raw is the value of a field; nil if it is not there.
func (o Object) Raw(name string) json.RawMessage {
	raw, _ := o.Get(name)
	return raw
}

// Has reports whether a field is there and not null.
func (o Object) Has(name string) bool {
	raw, ok := o.Get(name)
	return ok && string(raw) != "null"
}

// Text is a string; empty if it is not there.
func (o Object) Text(field string) (string, error) {
	raw, ok := o.Get(field)
	if !ok {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", BadRequest("%s is not a string", field)
	}
	return s, nil
}

// Int is an integer that has to be there.
func (o Object) Int(field string) (int, error) {
	raw, ok := o.Get(field)
	if !ok {
		return 0, BadRequest("%s is missing", field)
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil {
		return 0, BadRequest("%s is not an integer", field)
	}
	return n, nil
}

// List is an array that may be missing.
func (o Object) List(field string) ([]json.RawMessage, error) {
	raw, _ := o.Get(field)
	if !o.Has(field) {
		return nil, nil
	}
	all, ok := List(raw)
	if !ok {
		return nil, BadRequest("%s is not a list", field)
	}
	return all, nil
}

// Key is a key of a table, as a number or a string.
func (o Object) Key(field string) (int64, error) {
	raw, ok := o.Get(field)
	if !ok {
		return 0, BadRequest("%s is missing", field)
	}
	return ParseKey(field, raw, true)
}

// ParseKey reads a key; text allows a string too.
func ParseKey(field string, raw json.RawMessage, text bool) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, nil
	}
	// Slow path
	var v rowjson.Value
	if err := json.Unmarshal(raw, &v); err != nil {
		return 0, BadRequest("%s is not an integer", field)
	}
	if text && v.IsText() {
		var err error
		if v, err = rowjson.Number(strings.TrimSpace(v.Raw())); err != nil {
			return 0, BadRequest("%s is not an integer", field)
		}
	}
	key, err := v.Int64()
	if err != nil {
		return 0, BadRequest("%s: %s", field, err)
	}
	return key, nil
}

// Texts is a list of strings.
func Texts(field string, raw json.RawMessage) ([]string, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil || all == nil {
		return nil, BadRequest("%s is not a list", field)
	}
	found := make([]string, len(all))
	for i, raw := range all {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return nil, BadRequest("%s[%d] is not a string", field, i)
		}
		found[i] = *s
	}
	return found, nil
}
