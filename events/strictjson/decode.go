package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Decode reads a body into what to points at, a struct, as json.Unmarshal does,
// and refuses every field that it has not, however deep.
func Decode(body []byte, to any) error {
	o, err := Parse(body)
	if err != nil {
		return err
	}
	o.conform(reflect.TypeOf(to).Elem())
	if err := o.Err(); err != nil {
		return err
	}
	if err := json.Unmarshal(body, to); err != nil {
		return badRequest("%s", Wrong(err))
	}
	return nil
}

// Wrong is the fault of a value, without the types of this program.
func Wrong(err error) string {
	var t *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &t):
		return strings.TrimPrefix(err.Error(), "json: ")
	case t.Field != "":
		return t.Field + " cannot be a JSON " + t.Value
	}
	return "it cannot be a JSON " + t.Value
}

// conform refuses the fields of an object that a struct has not.
func (o Object) conform(t reflect.Type) {
	types := map[string]reflect.Type{}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); f.IsExported() && !f.Anonymous && name != "-" {
			if name == "" {
				name = f.Name
			}
			types[name], names = f.Type, append(names, name)
		}
	}
	o.Only(names...)
	for _, name := range names {
		if o.Has(name) {
			raw, _ := o.get(name)
			o.conformValue(raw, name, types[name])
		}
	}
}

func (o Object) conformValue(raw json.RawMessage, name string, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case o.Err() != nil, reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
	case t.Kind() == reflect.Struct:
		o.within(raw, name, ".", "an object").conform(t)
	case t.Kind() == reflect.Slice:
		var all []json.RawMessage
		if json.Unmarshal(raw, &all) != nil {
			return // its error comes from the decoder
		}
		for i, raw := range all {
			o.conformValue(raw, fmt.Sprintf("%s[%d]", name, i), t.Elem())
		}
	}
}
