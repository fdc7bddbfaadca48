// Package strictjson reads the JSON objects that people send.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"ringway/events"
	"ringway/events/rowjson"
)

// Object is a JSON object of a request; of fields with one name the last counts,
// and fields that nobody asks for do no harm. The first error, which names the
// field, stays: see Err. After it, values mean nothing.
type Object struct {
	fields map[string]json.RawMessage
	at     string // begins the names of its fields in errors
	err    *error // shared with the objects in it
}

// Parse reads a body.
func Parse(body []byte) (Object, error) {
	o := Object{err: new(error)}
	if json.Unmarshal(body, &o.fields) == nil && o.fields != nil {
		return o, nil
	}
	var first map[string]json.RawMessage
	if json.NewDecoder(bytes.NewReader(body)).Decode(&first) != nil || first == nil {
		return o, badRequest("the body is no JSON object")
	}
	return o, badRequest("the body goes on after the JSON object")
}

// Err is the first error.
func (o Object) Err() error { return *o.err }

// Fail notes an error, if err is one and the first.
func (o Object) Fail(err error) {
	if *o.err == nil {
		*o.err = err
	}
}

func (o Object) fail(field, what string) { o.Fail(badRequest("%s%s %s", o.at, field, what)) }

// Names reports whether a field is there, even if it is null.
func (o Object) Names(field string) bool {
	_, ok := o.fields[field]
	return ok
}

// Has reports whether a field is there and not null.
func (o Object) Has(field string) bool {
	raw, ok := o.fields[field]
	return ok && string(raw) != "null"
}

// Require fails unless a field is there and not null.
func (o Object) Require(field string) {
	if !o.Has(field) {
		o.fail(field, "is missing")
	}
}

// Raw is a field as it came, which has to be there.
func (o Object) Raw(field string) json.RawMessage {
	raw, ok := o.fields[field]
	if !ok {
		o.fail(field, "is missing")
	}
	return raw
}

// Text is a string; empty if it is not there.
func (o Object) Text(field string) (s string) {
	if raw, ok := o.fields[field]; ok && json.Unmarshal(raw, &s) != nil {
		o.fail(field, "is not a string")
	}
	return s
}

// Int is an integer that has to be there.
func (o Object) Int(field string) int {
	n, err := strconv.Atoi(string(o.Raw(field)))
	if err != nil {
		o.fail(field, "is not an integer")
	}
	return n
}

// Key is a key of a table, which has to be there; text allows a string too.
func (o Object) Key(field string, text bool) int64 {
	raw := o.Raw(field)
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n
	}
	// Slow path
	var v rowjson.Value
	err := json.Unmarshal(raw, &v)
	if err == nil && text && v.IsText() {
		v, err = rowjson.Number(strings.TrimSpace(v.Raw()))
	}
	if err != nil {
		o.fail(field, "is not an integer")
		return 0
	}
	key, err := v.Int64()
	if err != nil {
		o.Fail(badRequest("%s%s: %s", o.at, field, err))
	}
	return key
}

// List is an array that may be missing.
func (o Object) List(field string) (all []json.RawMessage) {
	if o.Has(field) && json.Unmarshal(o.fields[field], &all) != nil {
		o.fail(field, "is not a list")
	}
	return all
}

// Texts is a list of strings that has to be there.
func (o Object) Texts(field string) []string { return o.TextsOf(field, o.Raw(field)) }

// TextsOf is a list of strings, raw, that is called field.
func (o Object) TextsOf(field string, raw json.RawMessage) []string {
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) != nil || all == nil {
		o.fail(field, "is not a list")
	}
	found := make([]string, len(all))
	for i, raw := range all {
		var s *string
		if json.Unmarshal(raw, &s) != nil || s == nil {
			o.fail(fmt.Sprintf("%s[%d]", field, i), "is not a string")
			break
		}
		found[i] = *s
	}
	return found
}

// Object is an object that has to be there; form is what it has to be, for people.
func (o Object) Object(field, form string) Object {
	o.Require(field)
	return o.within(o.fields[field], field, ".", form)
}

// Objects are those of an array that may be missing, until there is an error.
func (o Object) Objects(field string) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for i, raw := range o.List(field) {
			if o.Err() != nil || !yield(o.within(raw, fmt.Sprintf("%s[%d]", field, i), ": ", "an object")) {
				return
			}
		}
	}
}

func (o Object) within(raw json.RawMessage, name, separator, form string) Object {
	inner := Object{at: o.at + name + separator, err: o.err}
	if o.Err() == nil && (json.Unmarshal(raw, &inner.fields) != nil || inner.fields == nil) {
		o.fail(name, "is not "+form)
	}
	return inner
}

func badRequest(format string, args ...any) error {
	return events.StatusErrorf(http.StatusBadRequest, format, args...)
}
