package write

import (
	"reflect"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/strictjson"
)

var studs = events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}}

// What clients usually write has to be read on the fast path, or it is none.
func TestScanWrite_ReadsWhatClientsWrite(t *testing.T) {
	want := []rowjson.Row{{rowjson.Int(1), rowjson.Text("a")}, {rowjson.Int(2), rowjson.Text("")}}
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
		o, err := strictjson.Parse([]byte(body))
		if err != nil || o.Has("table") {
			t.Fatalf("%q: %v", body, err)
		}
		list := o.List("data")
		if err := o.Err(); err != nil || len(list) != len(got) {
			t.Fatalf("%q: got %v, want %s, %v", body, got, list, err)
		}
		for i, raw := range list {
			if want, err := studs.ReadRow(raw); err != nil || !reflect.DeepEqual(got[i], want) {
				t.Fatalf("%q: row %d is %v, want %v, %v", body, i, got[i], want, err)
			}
		}
	})
}
