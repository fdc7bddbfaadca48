package events

import (
	"encoding/json"
	"reflect"
	"testing"
)

var studs = Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{DTypeNumber, DTypeString, DTypeString}}

// What clients usually write has to be read on the fast path, or it is none.
func TestScanRow_ReadsWhatClientsWrite(t *testing.T) {
	f := func(text string, want Row) {
		t.Helper()
		if got, end, ok := studs.ScanRow(text+" tail", 0); !ok || end != len(text) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v up to %d, %v", text, got, end, ok)
		}
	}
	half, _ := Number("0.5")
	f(`{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}`, Row{Int(107), Text("Student 2z"), Int(6)})
	f(`{"Stud_id": -1, "Stud_name": "", "Stud_marks": "7"}`, Row{Int(-1), Text(""), Text("7")})
	f("\n{ \"Stud_marks\" : 50e-2,\t\"Stud_id\":0 , \"Stud_name\": \"Zo\\u00eb \\\"Z\\\" é\" }", Row{Int(0), Text(`Zoë "Z" é`), half})
}

// FuzzScanRow compares with ReadRow.
func FuzzScanRow(f *testing.F) {
	for _, v := range []string{`1`, `-0`, `01`, `1.50`, `+1`, `-`, `1e5`, `1.`, `null`, `true`, `[1]`, `"`, `"a`, `"\`, `"\"`, `"\q"`, `"\ud800"`, `"\ud83d\ude00"`, "\"\xff\"", "\"\xff\\n\"", "\"\n\"", `"x"`, `1 2`, `{"a":1}`, `1,"Stud_id":2`, `1,"more":2`} {
		f.Add(`{"Stud_id":1,"Stud_name":"x","Stud_marks":` + v + `}`)
		f.Add(`{"Stud_id":` + v + `,"Stud_name":"x","Stud_marks":1} `)
	}
	for _, s := range []string{`{}`, `{"Stud_id":1}`, `{"Stud_id":1,}`, `{"Stud_id":1,"Stud_id":1,"Stud_id":1}`, `{"Stud\u005fid":1,"Stud_name":"x","Stud_marks":1}`, `{`, ``, `[]`, `{"Stud_id"`, `{"Stud_id":1,"Stud_name":"x","Stud_marks":1`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, end, ok := studs.ScanRow(text, 0)
		if !ok {
			return
		}
		want, err := studs.ReadRow([]byte(text[:end]))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %v, ReadRow %v, %v", text, got, want, err)
		}
	})
}

func TestScanResults_ReadsWhatAppliersWrite(t *testing.T) {
	want := Results{Batch: "b-1", Table: "StudT", Shard: "sh1", Seq: 1<<64 - 1, Ops: 30}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := scanResults(string(body)); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got %+v, want %+v", ok, got, want)
	}
}

// FuzzScanResults compares with the standard library's decoder.
func FuzzScanResults(f *testing.F) {
	for _, n := range []string{`1`, `-1`, `01`, `1.0`, `1e3`, `18446744073709551616`, ``, ` 1`, `null`} {
		f.Add([]byte(`{"batch":"b","table":"t","shard":"s","seq":` + n + `,"ops":2}`))
		f.Add([]byte(`{"batch":"b","table":"t","shard":"\u0073","seq":1,"ops":` + n + `}`))
	}
	f.Add([]byte(`{"batch":"b","table":"t","shard":"s","seq":1,"ops":2,"results":[{"op":0,"outcome":"duplicate","keys":[1],"count":1}]}`))
	f.Add([]byte(`{"batch":"b","table":"t","shard":"s","seq":1,"ops":2}}`))
	f.Add([]byte(`{"batch":"b`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := scanResults(string(b))
		if !ok {
			return
		}
		var want Results
		if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, the library %+v, %v", b, got, want, err)
		}
	})
}

func BenchmarkReadRow(b *testing.B) {
	const text = `{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}`
	b.Run("scanned", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, ok := studs.ScanRow(text, 0); !ok {
				b.Fatal("no row")
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := studs.ReadRow([]byte(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
