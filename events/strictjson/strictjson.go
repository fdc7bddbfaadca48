// Package strictjson reads the JSON objects that people send. What it does not
// know, or finds twice, it refuses: who misspells a field must not get the answer
// to another question. Names of fields compare without case.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/internal/suggest"
)

// Object is a JSON object of a request. The first error, which names the field,
// stays: see Err. After it, values mean nothing. Its reader calls Only.
type Object struct {
	fields map[string]json.RawMessage // by name in lower case
	names  []string                   // as they are written, in that order
	at     string                     // begins the names of its fields in errors
	err    *error                     // shared with the objects in it
}

// Parse reads a body.
func Parse(body []byte) (Object, error) {
	o := Object{err: new(error)}
	err := o.read(body)
	switch {
	case errors.Is(err, errRest):
		return o, badRequest("the body goes on after the JSON object")
	case err != nil:
		return o, badRequest("the body is no JSON object")
	}
	return o, o.Err()
}

var (
	errNoObject = errors.New("no object")
	errRest     = errors.New("something follows the object")
)

// read notes an error for a field that is there twice, and returns one for what
// is no object.
func (o *Object) read(text []byte) error {
	in := json.NewDecoder(bytes.NewReader(text))
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return errNoObject
	}
	o.fields = map[string]json.RawMessage{}
	twice := ""
	for in.More() {
		token, err := in.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err = errors.Join(err, in.Decode(&value)); err != nil {
			return err
		}
		key := strings.ToLower(name)
		if _, there := o.fields[key]; there && twice == "" {
			twice = o.written(name)
			if twice != name {
				twice += ", also as " + name + ","
			}
		}
		o.fields[key], o.names = value, append(o.names, name)
	}
	if _, err := in.Token(); err != nil {
		return err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return errRest
	}
	if twice != "" {
		o.fail(twice, "is given twice")
	}
	return nil
}

// written is how a field is, which is there.
func (o Object) written(field string) string {
	i := slices.IndexFunc(o.names, func(name string) bool { return strings.ToLower(name) == strings.ToLower(field) })
	return o.names[i]
}

// Only refuses every field but those of some names.
func (o Object) Only(names ...string) { o.OnlyOf(names, nil) }

// OnlyOf is Only, and proposes also fields that another call has.
func (o Object) OnlyOf(names, others []string) {
	for _, name := range o.names {
		if !slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) }) {
			what := "is unknown"
			if known := slices.Concat(names, others); len(known) > 0 {
				what += suggest.Word(name, known)
			}
			o.fail(rowjson.Shorten(name), what)
			return
		}
	}
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

func (o Object) get(field string) (json.RawMessage, bool) {
	raw, ok := o.fields[strings.ToLower(field)]
	return raw, ok
}

// Names reports whether a field is there, even if it is null.
func (o Object) Names(field string) bool {
	_, ok := o.get(field)
	return ok
}

// Has reports whether a field is there and not null.
func (o Object) Has(field string) bool {
	raw, ok := o.get(field)
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
	raw, ok := o.get(field)
	if !ok {
		o.fail(field, "is missing")
	}
	return raw
}

// Text is a string; empty if it is not there.
func (o Object) Text(field string) (s string) {
	if raw, ok := o.get(field); ok && json.Unmarshal(raw, &s) != nil {
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
	if raw, _ := o.get(field); o.Has(field) && json.Unmarshal(raw, &all) != nil {
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
	raw, _ := o.get(field)
	return o.within(raw, field, ".", form)
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
	if o.Err() == nil && inner.read(raw) != nil {
		o.fail(name, "is not "+form)
	}
	return inner
}

func badRequest(format string, args ...any) error {
	return events.StatusErrorf(http.StatusBadRequest, format, args...)
}
