package events_test

import (
	"reflect"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
)

var studs = events.Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{events.DTypeNumber, events.DTypeString, events.DTypeString}}

// What clients usually write has to be read on the fast path, or it is none.
func TestNextRow_ReadsWhatClientsWrite(t *testing.T) {
	f := func(text string, want rowjson.Row) {
		t.Helper()
		in := rowjson.NewReader(text + " tail")
		if got, err := studs.NextRow(&in); err != nil || !in.Literal("tail") || !in.End() || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	half, _ := rowjson.Number("0.5")
	f(`{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}`, rowjson.Row{rowjson.Int(107), rowjson.Text("Student 2z"), rowjson.Int(6)})
	f(`{"Stud_id": -1, "Stud_name": "", "Stud_marks": "7"}`, rowjson.Row{rowjson.Int(-1), rowjson.Text(""), rowjson.Text("7")})
	f("\n{ \"Stud_marks\" : 50e-2,\t\"Stud_id\":0 , \"Stud_name\": \"Zo\\u00eb \\\"Z\\\" é\" }", rowjson.Row{rowjson.Int(0), rowjson.Text(`Zoë "Z" é`), half})
}

// FuzzNextRow compares with ReadRow.
func FuzzNextRow(f *testing.F) {
	for _, v := range []string{`1`, `-0`, `01`, `1.50`, `+1`, `-`, `1e5`, `1.`, `null`, `true`, `[1]`, `"`, `"a`, `"\`, `"\"`, `"\q"`, `"\ud800"`, `"\ud83d\ude00"`, "\"\xff\"", "\"\xff\\n\"", "\"\n\"", `"x"`, `1 2`, `{"a":1}`, `1,"Stud_id":2`, `1,"more":2`} {
		f.Add(`{"Stud_id":1,"Stud_name":"x","Stud_marks":` + v + `}`)
		f.Add(`{"Stud_id":` + v + `,"Stud_name":"x","Stud_marks":1} `)
	}
	for _, s := range []string{`{}`, `{"Stud_id":1}`, `{"Stud_id":1,}`, `{"Stud_id":1,"Stud_id":1,"Stud_id":1}`, `{"Stud\u005fid":1,"Stud_name":"x","Stud_marks":1}`, `{`, ``, `[]`, `{"Stud_id"`, `{"Stud_id":1,"Stud_name":"x","Stud_marks":1`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := rowjson.NewReader(text)
		got, err := studs.NextRow(&in)
		if err != nil || !in.End() {
			return
		}
		want, err := studs.ReadRow([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %v, ReadRow %v, %v", text, got, want, err)
		}
	})
}

func BenchmarkReadRow(b *testing.B) {
	const text = `{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}`
	b.Run("next", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := rowjson.NewReader(text)
			if _, err := studs.NextRow(&in); err != nil {
				b.Fatal(err)
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
