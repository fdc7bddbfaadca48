package strictjson

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"
)

// FuzzParse compares with the standard library's decoder.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[1,{"c":"}"}] } `, `{"a":"\"]","a\u0062":null,"a":true}`, `null`, `[1]`, `{"a":1} x`, `{"a":-1.5e+7,"b":"\\"}`, `"{"`, `{`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		err := json.Unmarshal(body, &want)
		got, refused := Parse(body)
		if (err != nil || want == nil) != (refused != nil) {
			t.Fatalf("%q: %v, the library says %v", body, refused, err)
		}
		if refused != nil {
			return
		}
		if !maps.EqualFunc(got.fields, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q: got %s, want %s", body, got.fields, want)
		}
	})
}

// FuzzListOf compares with the standard library's decoder.
func FuzzListOf(f *testing.F) {
	for _, s := range []string{`[]`, ` [ 1 , "," ,[2],{"a":[]}, null ] `, `{}`, `null`, `7`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		var want []json.RawMessage
		isList := json.Unmarshal(raw, &want) == nil // null is none
		o := Object{fields: map[string]json.RawMessage{"x": bytes.TrimSpace(raw)}, err: new(error)}
		got, err := o.List("x"), o.Err()
		if (err == nil) != isList || len(got) != len(want) {
			t.Fatalf("%q: got %q %v, want %q %v", raw, got, err, want, isList)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%q: element %d is %q, want %q", raw, i, got[i], want[i])
			}
		}
	})
}
