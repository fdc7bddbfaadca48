// Package api reads the bodies of requests to the tables' endpoints, and turns
// errors into answers.
package api

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"ringway/events/rowjson"
)

// Object is a JSON object of a request. Errors of its methods name the field.
type Object map[string]json.RawMessage

// ParseObject reads a body; other fields than those asked for do no harm.
func ParseObject(body []byte) (Object, error) {
	o, ok := Fields(body)
	if !ok {
		return nil, notAnObject(body)
	}
	return o, nil
}

// notAnObject is the error of a body that is no object.
func notAnObject(body []byte) error {
	if o := (Object)(nil); json.NewDecoder(bytes.NewReader(body)).Decode(&o) != nil || o == nil {
		return BadRequest("the body is no JSON object")
	}
	return BadRequest("the body goes on after the JSON object")
}

// Fields reads an object; of fields with one name the last counts.
func Fields(raw []byte) (Object, bool) {
	var o Object
	err := json.Unmarshal(raw, &o)
	return o, err == nil && o != nil
}

// Has reports whether a field is there and not null.
func (o Object) Has(name string) bool {
	raw, ok := o[name]
	return ok && string(raw) != "null"
}

// Text is a string; empty if it is not there.
func (o Object) Text(field string) (string, error) {
	raw, ok := o[field]
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
	raw, ok := o[field]
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
func (o Object) List(field string) (all []json.RawMessage, err error) {
	if o.Has(field) && json.Unmarshal(o[field], &all) != nil {
		return nil, BadRequest("%s is not a list", field)
	}
	return all, nil
}

// Key is a key of a table, as a number or a string.
func (o Object) Key(field string) (int64, error) {
	raw, ok := o[field]
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
