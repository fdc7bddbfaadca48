package database

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"testing"

	"ringway/events"
)

// FuzzParseObject compares with the standard library's decoder.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[1,{"c":"}"}] } `, `{"a":"\"]","a\u0062":null,"a":true}`, `null`, `[1]`, `{"a":1} x`, `{"a":-1.5e+7,"b":"\\"}`, `"{"`, `{`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want map[string]json.RawMessage
		err := json.Unmarshal(body, &want)
		got, refused := parseObject(body)
		if (err != nil || want == nil) != (refused != nil) {
			t.Fatalf("%q: %v, the library says %v", body, refused, err)
		}
		if refused != nil {
			return
		}
		found := map[string]json.RawMessage{}
		for _, f := range got {
			found[string(f.name)], _ = got.get(string(f.name))
		}
		if !maps.EqualFunc(found, want, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Fatalf("%q: got %s, want %s", body, found, want)
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
		isList := json.Unmarshal(raw, &want) == nil && want != nil
		got, ok := listOf(raw)
		if ok != isList || len(got) != len(want) {
			t.Fatalf("%q: got %q %v, want %q %v", raw, got, ok, want, isList)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%q: element %d is %q, want %q", raw, i, got[i], want[i])
			}
		}
	})
}

var studs = events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}}

// What clients usually write has to be read on the fast path, or it is none.
func TestScanWrite_ReadsWhatClientsWrite(t *testing.T) {
	want := []events.Row{{events.Int(1), events.Text("a")}, {events.Int(2), events.Text("")}}
	for _, body := range []string{
		`{"data":[{"Stud_id":1,"Stud_name":"a"},{"Stud_id":2,"Stud_name":""}]}`,
		`{"data": [{"Stud_id": 1, "Stud_name": "a"}, {"Stud_name": "", "Stud_id": 2}]}`,
		" {\n\t\"data\" : [ {\"Stud_id\":1,\"Stud_name\":\"a\"} , {\"Stud_id\":2,\"Stud_name\":\"\"} ] } \r\n",
	} {
		if got := scanWrite(&studs, body); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v", body, got)
		}
	}
}

// FuzzScanWrite compares with what parses with care, and says what is wrong.
func FuzzScanWrite(f *testing.F) {
	const row = `{"Stud_id":1,"Stud_name":"a"}`
	for _, s := range []string{
		`{"data":[` + row + `]}`, `{"data":[` + row + `,` + row + `]}`, `{"data":[` + row + `,]}`, `{"data":[,` + row + `]}`, `{"data":[]}`,
		`{"data":[` + row + `]`, `{"data":[` + row + `}`, `{"data":[` + row + `]}x`, `{"data":[` + row + `],"data":[]}`, `{"data":[` + row + `],"table":"T"}`,
		`{"table":"T","data":[` + row + `]}`, `{"dat\u0061":[` + row + `]}`, `{"data":null}`, `{"data":[{"Stud_id":1}]}`, `{"data":` + row + `}`, `[` + row + `]`, `{`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := scanWrite(&studs, body)
		if got == nil {
			return
		}
		o, err := parseObject([]byte(body))
		if err != nil || o.has("table") {
			t.Fatalf("%q: %v", body, err)
		}
		list, err := o.list("data")
		if err != nil || len(list) != len(got) {
			t.Fatalf("%q: got %v, want %s, %v", body, got, list, err)
		}
		for i, raw := range list {
			if want, err := studs.ReadRow(raw); err != nil || !reflect.DeepEqual(got[i], want) {
				t.Fatalf("%q: row %d is %v, want %v, %v", body, i, got[i], want, err)
			}
		}
	})
}
