package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		o, err := Parse([]byte(body))
		if err == nil {
			o.OnlyOf([]string{"n", "hostnames", "inner", "many"}, []string{"servers", "Shard_id"})
			if o.Has("inner") {
				o.Object("inner", "an object").Only("low")
			}
			for one := range o.Objects("many") {
				one.Only("low", "Shard_id")
			}
			err = o.Err()
		}
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	f(`{"n":1,"hostnames":[],"inner":{"low":1},"many":[{"low":1},{"LOW":2}]}`, "")
	f(`{"N":1,"HostNames":[]}`, "")
	f(`{"n":1,"n":1}`, "n is given twice")
	f(`{"n":1,"\u006e":1}`, "n is given twice")
	f(`{"n":1,"N":1}`, "n, also as N, is given twice")
	f(`{"n":1,"hostname":[]}`, `hostname is unknown; did you mean "hostnames"?`)
	f(`{"n":1,"server":[]}`, `server is unknown; did you mean "servers"?`)
	f(`{"n":1,"shardid":[]}`, `shardid is unknown; did you mean "Shard_id"?`)
	f(`{"n":1,"if":{}}`, `if is unknown; did you mean "n"?`)
	f(`{"n":1,"something":{}}`, `something is unknown; use n, hostnames, inner, many, servers, Shard_id`)
	f(`{"inner":{"high":1}}`, `inner.high is unknown; use low`)
	f(`{"inner":{"low":1,"low":1}}`, `inner.low is given twice`)
	f(`{"inner":[]}`, `inner is not an object`)
	f(`{"many":[{"low":1},{"lo":1}]}`, `many[1]: lo is unknown; did you mean "low"?`)
	f(`{"many":[{"low":1,"low":2}]}`, `many[0]: low is given twice`)
	f(`{"n":1} {}`, "the body goes on after the JSON object")
	f(`{"n":1,}`, "the body is no JSON object")
	f(``, "the body is no JSON object")
}

func TestDecode(t *testing.T) {
	type row struct {
		Low  *int `json:"low"`
		Name string
	}
	type body struct {
		ID    string         `json:"id,omitempty"`
		One   *row           `json:"one"`
		Rows  []row          `json:"rows"`
		Texts []string       `json:"texts"`
		Any   map[string]int `json:"any"`
	}
	f := func(text, want string) {
		t.Helper()
		got := "none"
		if err := Decode([]byte(text), &body{}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	f(`{"id":"a","one":{"low":1,"name":"x"},"rows":[{"Low":2}],"texts":["a"],"any":{"b":1}}`, "none")
	f(`{"id":"a","one":null,"rows":null}`, "none")
	f(`{"ids":"a"}`, `ids is unknown; did you mean "id"?`)
	f(`{"id":"a","ID":"b"}`, "id, also as ID, is given twice")
	f(`{"one":{"lo":1}}`, `one.lo is unknown; did you mean "low"?`)
	f(`{"one":1}`, `one is not an object`)
	f(`{"rows":[{},{"low":1,"low":2}]}`, "rows[1].low is given twice")
	f(`{"id":1}`, "id cannot be a JSON number")
	f(`{"rows":1}`, "rows cannot be a JSON number")
	f(`null`, "the body is no JSON object")
}

// FuzzParse compares with the standard library's decoder.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[1,{"c":"}"}] } `, `{"a":"\"]","a\u0062":null,"a":true}`, `null`, `[1]`, `{"a":1} x`, `{"a":-1.5e+7,"b":"\\"}`, `"{"`, `{`, ``,
		`{"a":1,}`, `{"a" 1}`, `{1:1}`, `{"a":1,"A":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		err := json.Unmarshal(body, &want)
		got, refused := Parse(body)
		if refused != nil && strings.HasSuffix(refused.Error(), " is given twice") {
			return
		}
		if (err != nil || want == nil) != (refused != nil) {
			t.Fatalf("%q: %v, the library says %v", body, refused, err)
		}
		if refused != nil {
			return
		}
		if len(want) != len(got.names) || len(want) != len(got.fields) {
			t.Fatalf("%q: got %q, want %s", body, got.names, want)
		}
		for name, raw := range want {
			if have, ok := got.get(name); !ok || !bytes.Equal(raw, have) {
				t.Fatalf("%q: %q is %s, want %s", body, name, have, raw)
			}
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
