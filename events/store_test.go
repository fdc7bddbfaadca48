package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

var (
	students = events.Table{
		Name:   "StudT",
		Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{"Number", "String", "String"}},
		Shards: []events.Shard{{ID: "sh1", Low: 0, Size: 4096}, {ID: "sh2", Low: 4096, Size: 4096}},
	}
	spec = events.ShardSpec{Table: "StudT", Schema: students.Schema, Shard: students.Shards[0]}
	key  = int64(0)
)

func row(id int64, name string, marks rowjson.Value) rowjson.Row {
	return rowjson.Row{rowjson.Int(id), rowjson.Text(name), marks}
}

func sampleBatch() shardlog.Batch {
	return shardlog.Batch{
		ID: "KMZB7", Writer: "r1", Table: "StudT", Shard: "sh1",
		Ops: []shardlog.Op{
			{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row(0, "Zoë \"Z\" <z@x>", rowjson.Int(27)), row(1, "", rowjson.Text("27"))},
				Idempotency: &shardlog.Idempotency{Key: "pay 7", Body: "9f86d081"}},
			{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row(1, "\x00\n😀", rowjson.Text("30"))}},
			{Kind: shardlog.OpDelete, Key: &key},
			{Kind: shardlog.OpBarrier}, {Kind: shardlog.OpDigest},
		},
	}
}

func sampleResults() shardlog.Results {
	return shardlog.Results{Batch: "KMZB7", Table: "StudT", Shard: "sh1", Seq: 9, Ops: 5, Notable: []shardlog.Result{
		{Op: 0, Outcome: shardlog.Duplicate, Keys: []int64{0, 1}, Count: 2},
		{Op: 1, Outcome: shardlog.Done, Of: "KMZB6.3"},
		{Op: 2, Outcome: shardlog.Missing, Keys: []int64{0}, Count: 1},
		{Op: 4, Outcome: shardlog.Invalid, Detail: "Stud_id: missing"},
	}}
}

func samplePosition() events.Position {
	return events.Position{Incarnation: "LOG1", Seq: 9, Batch: "KMZB7"}
}

func sampleCopy() []shardapi.CopyItem {
	return []shardapi.CopyItem{
		{Row: row(7, "Ann", rowjson.Int(-1))},
		{Results: &shardlog.KeptResults{At: noon, Results: sampleResults()}},
		{Idempotency: &shardlog.KeptIdempotency{Idempotency: shardlog.Idempotency{Key: "pay 7", Body: "9f86"}, At: noon, Op: "KMZB7.0", First: shardlog.Result{Outcome: shardlog.Done}}},
	}
}

func TestGolden_Database(t *testing.T) {
	checkGolden(t, "batch", sampleBatch(), shardlog.DecodeBatch)
	checkGolden(t, "results", sampleResults(), shardlog.DecodeResults)
	checkGolden(t, "position", samplePosition(), decodeJSON[events.Position])
	checkGolden(t, "state_digest", shardlog.StateDigest{Position: samplePosition(), Rows: 3, Data: "00ff", Results: "01", Idempotency: "02"}, decodeJSON[shardlog.StateDigest])
	checkGolden(t, "copy_head", shardapi.CopyHead{Spec: spec, Position: samplePosition(), Clock: noon}, shardapi.DecodeCopyHead)
	for i, item := range sampleCopy() {
		checkGolden(t, fmt.Sprintf("copy_item_%d", i), item, shardapi.DecodeCopyItem)
	}
}

func FuzzDecodeBatch(f *testing.F)   { stable(f, shardlog.DecodeBatch, sampleBatch()) }
func FuzzDecodeResults(f *testing.F) { stable(f, shardlog.DecodeResults, sampleResults()) }
func FuzzDecodeCopyHead(f *testing.F) {
	stable(f, shardapi.DecodeCopyHead, shardapi.CopyHead{Spec: spec, Position: samplePosition(), Clock: noon})
}
func FuzzDecodeCopyItem(f *testing.F) {
	s := sampleCopy()
	stable(f, shardapi.DecodeCopyItem, s[0], s[1], s[2])
}

// Whatever ReadRow lets through is valid, and is written as JSON's own decoder
// would read it from the input.
func FuzzReadRow(f *testing.F) {
	f.Add([]byte(`{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":27}`))
	f.Add([]byte(`{"Stud_id":-0.0e-9,"Stud_name":"\ud83d\ude00\u0000","Stud_marks":1.5E+1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := students.Schema.ReadRow(b)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Fatalf("an error nobody can read: %q", err)
			}
			return
		}
		out := students.Schema.AppendRow(nil, r)
		again, err := students.Schema.ReadRow(out)
		if err != nil || !equal(r, again) {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
		var want, got struct{ Stud_name, Stud_marks any }
		if err := json.Unmarshal(b, &want); err != nil {
			t.Skip() // a number beyond float64
		}
		if err := json.Unmarshal(out, &got); err != nil || got != want {
			t.Fatalf("%s became %s: %v", b, out, err)
		}
	})
}

func equal(a, b rowjson.Row) bool {
	x, _ := a.MarshalJSON()
	y, _ := b.MarshalJSON()
	return bytes.Equal(x, y)
}

func TestReadRow_NamesTheField(t *testing.T) {
	f := func(want, in string) {
		t.Helper()
		_, err := students.Schema.ReadRow([]byte(in))
		refused(t, err, want)
	}
	f("not JSON", `{"Stud_id":1`)
	f("an array is no object", `[1]`)
	f("null is no object", `null`)
	f("Stud_marks: missing", `{"Stud_id":1,"Stud_name":"x"}`)
	f("colour: no such column", `{"Stud_id":1,"Stud_name":"x","Stud_marks":1,"colour":1}`)
	f("stud_id: no such column", `{"stud_id":1,"Stud_name":"x","Stud_marks":1}`)
	f("Stud_id: given twice", `{"Stud_id":1,"Stud_id":1,"Stud_name":"x","Stud_marks":1}`)
	f(`Stud_id: "1" is no number`, `{"Stud_id":"1","Stud_name":"x","Stud_marks":1}`)
	f("Stud_id: 1.5 is no 64-bit integer", `{"Stud_id":1.5,"Stud_name":"x","Stud_marks":1}`)
	f("Stud_id: 9223372036854775808 is no 64-bit integer", `{"Stud_id":9223372036854775808,"Stud_name":"x","Stud_marks":1}`)
	f("Stud_name: null is neither", `{"Stud_id":1,"Stud_name":null,"Stud_marks":1}`)
	f("Stud_name: true is neither", `{"Stud_id":1,"Stud_name":true,"Stud_marks":1}`)
	f("Stud_name: an object is neither", `{"Stud_id":1,"Stud_name":{"a":1},"Stud_marks":1}`)
	f("Stud_name: an array is neither", `{"Stud_id":1,"Stud_name":[],"Stud_marks":1}`)
	f("Stud_name: half of a surrogate", `{"Stud_id":1,"Stud_name":"\ud800","Stud_marks":1}`)
	f("Stud_name: half of a surrogate", `{"Stud_id":1,"Stud_name":"\udc00\ud800","Stud_marks":1}`)
	f("Stud_name: half of a surrogate", `{"Stud_id":1,"Stud_name":"\ud800\ud800\udc00","Stud_marks":1}`)
	f("Stud_name: not valid UTF-8", "{\"Stud_id\":1,\"Stud_name\":\"\xff\",\"Stud_marks\":1}")
	f("Stud_name: 65536 bytes are too many", `{"Stud_id":1,"Stud_name":"`+strings.Repeat("x", 65536)+`","Stud_marks":1}`)
	f("Stud_marks: 1e99 is too long", `{"Stud_id":1,"Stud_name":"x","Stud_marks":1e99}`)
}

func TestReadRow_GivesBackWhatWentIn(t *testing.T) {
	in := `{"Stud_id":9007199254740993,"Stud_name":"27\\ud800 \u0000\ud83d\ude00é","Stud_marks":27}`
	r, err := students.Schema.ReadRow([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if r.Key() != 9007199254740993 || r[1] != rowjson.Text("27\\ud800 \x00😀é") || r[2] != rowjson.Int(27) || r[2] == rowjson.Text("27") {
		t.Errorf("got %v", r)
	}
}

func TestTable_Refuses(t *testing.T) {
	f := func(want string, change func(*events.Table)) {
		t.Helper()
		var table events.Table
		if err := json.Unmarshal(encoded(t, students), &table); err != nil {
			t.Fatal(err)
		}
		change(&table)
		err := table.Validate()
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		refused(t, err, want)
	}
	f("", func(*events.Table) {})
	f("", func(x *events.Table) { x.Shards[1].Low = 5000 }) // a gap
	f("", func(x *events.Table) { x.Shards[0].Low, x.Shards[0].Size = math.MinInt64, math.MaxInt64 })
	f("", func(x *events.Table) { x.Shards[1].Size = math.MaxInt64 - 4096 + 1 })
	f("", func(x *events.Table) { x.Shards[0], x.Shards[1] = x.Shards[1], x.Shards[0] })
	f("table", func(x *events.Table) { x.Name = "1x" })
	f("table", func(x *events.Table) { x.Name = "a`; DROP" })
	f("columns: missing", func(x *events.Table) { x.Schema.Columns = nil })
	f("dtypes: 2 for 3", func(x *events.Table) { x.Schema.DTypes = x.Schema.DTypes[:2] })
	f("65 are too many", func(x *events.Table) { x.Schema.Columns = make([]string, 65) })
	f("is the key", func(x *events.Table) { x.Schema.DTypes[0] = "String" })
	f(`"Float" of Stud_name`, func(x *events.Table) { x.Schema.DTypes[1] = "Float" })
	f("STUD_ID is there twice", func(x *events.Table) { x.Schema.Columns[2] = "STUD_ID" })
	f("no identifier", func(x *events.Table) { x.Schema.Columns[2] = "_kinds" })
	f("no identifier", func(x *events.Table) { x.Schema.Columns[2] = "a\n" })
	f("no identifier", func(x *events.Table) { x.Schema.Columns[2] = strings.Repeat("a", 49) })
	f("shards: missing", func(x *events.Table) { x.Shards = nil })
	f("1025 are too many", func(x *events.Table) { x.Shards = make([]events.Shard, 1025) })
	f("no identifier", func(x *events.Table) { x.Shards[0].ID = "" })
	f("SH2 is defined twice", func(x *events.Table) { x.Shards = append(x.Shards, events.Shard{ID: "SH2", Low: 9000, Size: 1}) })
	f("size 0", func(x *events.Table) { x.Shards[0].Size = 0 })
	f("size -1", func(x *events.Table) { x.Shards[0].Size = -1 })
	f("sh1 and sh2 overlap", func(x *events.Table) { x.Shards[0].Size++ })
	f("sh1 and sh2 overlap", func(x *events.Table) { x.Shards[1].Low = 0 })
	f("beyond 64 bits", func(x *events.Table) { x.Shards[1].Size = math.MaxInt64 })
}

func TestTable_Finds(t *testing.T) {
	table := students
	table.Shards = append(table.Shards[:2:2], events.Shard{ID: "sh9", Low: 10000, Size: 1})
	for key, want := range map[int64]string{math.MinInt64: "", -1: "", 0: "sh1", 4095: "sh1", 4096: "sh2", 8191: "sh2", 8192: "", 9999: "", 10000: "sh9", 10001: "", math.MaxInt64: ""} {
		if got, ok := table.Find(key); got.ID != want || ok != (want != "") {
			t.Errorf("%d: got %q, want %q", key, got.ID, want)
		}
	}
	f := func(low, high int64, want ...string) {
		t.Helper()
		var got []string
		for _, s := range table.Between(low, high) {
			got = append(got, s.ID)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d to %d: got %v, want %v", low, high, got, want)
		}
	}
	f(4095, 4096, "sh1", "sh2")
	f(8192, 9999)
	f(math.MinInt64, math.MaxInt64, "sh1", "sh2", "sh9")
	wide := events.Shard{ID: "all", Low: math.MinInt64, Size: math.MaxInt64}
	if !wide.Holds(math.MinInt64) || !wide.Holds(-2) || wide.Holds(-1) || wide.Holds(math.MaxInt64) || wide.High() != -2 {
		t.Error("a shard of half of all keys is wrong")
	}
	if _, ok := table.Shard("sh9"); !ok {
		t.Error("sh9 is not found by its id")
	}
}

func TestOp_Validate(t *testing.T) {
	f := func(want string, o shardlog.Op) {
		t.Helper()
		err := o.Validate(&spec.Schema, spec.Shard)
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			return
		}
		refused(t, err, want)
	}
	out := int64(4096)
	one := []rowjson.Row{row(1, "a", rowjson.Int(1))}
	for _, o := range sampleBatch().Ops {
		f("", o)
	}
	f("is unknown", shardlog.Op{})
	f("rows: missing", shardlog.Op{Kind: shardlog.OpInsert})
	f("rows: missing", shardlog.Op{Kind: shardlog.OpUpdate})
	f("2 are too many", shardlog.Op{Kind: shardlog.OpUpdate, Rows: append(one, one...)})
	f("1 are too many", shardlog.Op{Kind: shardlog.OpBarrier, Rows: one})
	f("key: missing", shardlog.Op{Kind: shardlog.OpDelete})
	f("key: not for", shardlog.Op{Kind: shardlog.OpInsert, Rows: one, Key: &key})
	f("Stud_id: 1 is there twice in one write", shardlog.Op{Kind: shardlog.OpInsert, Rows: append(one, one...)})
	f("Stud_id: 4096 is outside of shard sh1, which holds 0 to 4095", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row(4096, "a", rowjson.Int(1))}})
	f("Stud_id: 4096 is outside", shardlog.Op{Kind: shardlog.OpDelete, Key: &out})
	f("2 values for 3 columns", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text("")}}})
	f("Stud_marks: missing", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text(""), {}}}})
	f("Stud_name: not valid UTF-8", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row(1, "\xff", rowjson.Int(1))}})
	f("Stud_id", shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Text("1"), rowjson.Text(""), rowjson.Text("")}}})
	f("idempotency key", shardlog.Op{Kind: shardlog.OpBarrier, Idempotency: &shardlog.Idempotency{Body: "x"}})
	f("idempotency key", shardlog.Op{Kind: shardlog.OpBarrier, Idempotency: &shardlog.Idempotency{Key: "ä", Body: "x"}})
	f("idempotency body", shardlog.Op{Kind: shardlog.OpBarrier, Idempotency: &shardlog.Idempotency{Key: "a"}})
}

// In whatever order keys come, none may be there twice.
func TestOp_ValidateFindsKeysThatAreThereTwice(t *testing.T) {
	f := func(want string, keys ...int64) {
		t.Helper()
		o := shardlog.Op{Kind: shardlog.OpInsert}
		for _, key := range keys {
			o.Rows = append(o.Rows, row(key, "a", rowjson.Int(1)))
		}
		err := o.Validate(&spec.Schema, events.Shard{ID: "sh1", Low: -9, Size: 20})
		if want == "" && err != nil {
			t.Errorf("%v: %v", keys, err)
		} else if want != "" {
			refused(t, err, want)
		}
	}
	f("", -9, 0, 10)
	f("", 10, -9, 0)
	f("", 0, -9, 10)
	f("0 is there twice", 0, 0)
	f("-9 is there twice", -9, -9, 10)
	f("7 is there twice", 1, 7, 2, 7)
	f("7 is there twice", 7, 1, 2, 7)
	f("10 is there twice", 1, 2, 10, 10)
}

func TestDecodeBatch_Refuses(t *testing.T) {
	f := func(want string, change func(*shardlog.Batch)) {
		t.Helper()
		b := sampleBatch()
		change(&b)
		_, err := shardlog.DecodeBatch(encoded(t, b))
		refused(t, err, want)
	}
	f("id", func(b *shardlog.Batch) { b.ID = "" })
	f("id", func(b *shardlog.Batch) { b.ID = "a b" })
	f("writer", func(b *shardlog.Batch) { b.Writer = "" })
	f("table", func(b *shardlog.Batch) { b.Table = "a.b" })
	f("shard", func(b *shardlog.Batch) { b.Shard = ">" })
	f("0 ops", func(b *shardlog.Batch) { b.Ops = nil })
	f("op 1", func(b *shardlog.Batch) { b.Ops[1].Kind = "drop" })
	f("null is neither", func(b *shardlog.Batch) { b.Ops[1].Rows[0][1] = rowjson.Value{} })
	f("at most 64 values", func(b *shardlog.Batch) { b.Ops[1].Rows[0] = append(make(rowjson.Row, 0), many(65)...) })
	_, err := shardlog.DecodeBatch(make([]byte, shardlog.MaxBatchBytes+1))
	refused(t, err, "too many")
}

func many(n int) rowjson.Row {
	r := make(rowjson.Row, n)
	for i := range r {
		r[i] = rowjson.Int(int64(i))
	}
	return r
}

func TestResults_Op(t *testing.T) {
	r := sampleResults()
	if got := r.Op(3); got.Outcome != shardlog.Done || got.Op != 3 {
		t.Errorf("got %+v", got)
	}
	if got := r.Op(2); got.Outcome != shardlog.Missing || got.Keys[0] != 0 {
		t.Errorf("got %+v", got)
	}
	f := func(want string, change func(*shardlog.Results)) {
		t.Helper()
		r := sampleResults()
		change(&r)
		_, err := shardlog.DecodeResults(encoded(t, r))
		refused(t, err, want)
	}
	f("batch", func(r *shardlog.Results) { r.Batch = "" })
	f("out of order", func(r *shardlog.Results) { r.Ops = 4 })
	f("out of order", func(r *shardlog.Results) { r.Notable[1].Op = 0 })
	f("outcome", func(r *shardlog.Results) { r.Notable[1].Outcome = "maybe" })
}

func TestOpID(t *testing.T) {
	if batch, i, err := shardlog.ParseOpID(shardlog.OpID("a.b", 12)); batch != "a.b" || i != 12 || err != nil {
		t.Errorf("got %q, %d, %v", batch, i, err)
	}
	for _, bad := range []string{"", "a", ".1", "a.", "a.-1", "a.01", "a.70000", "a b.1", strings.Repeat("x", 100) + ".1"} {
		_, _, err := shardlog.ParseOpID(bad)
		refused(t, err, "op id")
	}
}

func TestSubjects_Database(t *testing.T) {
	for got, want := range map[string]string{
		events.LogSubject("StudT", "sh1"):               "ringway.log.StudT.sh1",
		events.LogStream("StudT", "sh1"):                "RINGWAY_LOG_StudT-sh1",
		events.ResultSubject("r.1", "StudT", "sh1"):     "ringway.res.r_1.StudT.sh1",
		events.AllResults("r.1"):                        "ringway.res.r_1.>",
		samplePosition().String():                       "LOG1/9 (KMZB7)",
		string(students.Schema.AppendRow(nil, many(3))): `{"Stud_id":0,"Stud_name":1,"Stud_marks":2}`,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDecodeCopy_Refuses(t *testing.T) {
	for _, bad := range []string{`{}`, `{"row":[]}`, `{"row":[1],"results":{"results":{"batch":"a"}}}`, `{"results":{}}`, `{"idempotency":{"key":""}}`, `[]`} {
		if got, err := shardapi.DecodeCopyItem([]byte(bad)); err == nil {
			t.Errorf("%s became %+v", bad, got)
		}
	}
	_, err := shardapi.DecodeCopyHead(encoded(t, shardapi.CopyHead{Spec: spec}))
	refused(t, err, "incarnation")
	_, err = shardapi.DecodeCopyHead([]byte(`{}`))
	refused(t, err, "decode copy")
}

func BenchmarkDecodeBatch(b *testing.B) {
	batch := sampleBatch()
	batch.Ops = nil
	for i := range 64 {
		batch.Ops = append(batch.Ops, shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row(int64(i), "somebody", rowjson.Int(27))}})
	}
	in, err := json.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := shardlog.DecodeBatch(in); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCopyClockKeepsNanoseconds(t *testing.T) {
	h, err := shardapi.DecodeCopyHead(encoded(t, shardapi.CopyHead{Spec: spec, Position: samplePosition(), Clock: noon}))
	if err != nil || !h.Clock.Equal(noon) || noon.Nanosecond()%int(time.Microsecond) == 0 {
		t.Errorf("got %v, %v", h.Clock, err)
	}
}

// A column is known by its whole name, however it is written.
func TestSchema_ReadRowKnowsColumnsByTheirWholeName(t *testing.T) {
	schema := events.Schema{Columns: []string{"id", "idle"}, DTypes: []string{events.DTypeNumber, events.DTypeString}}
	f := func(object, want string) {
		t.Helper()
		row, err := schema.ReadRow([]byte(object))
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = string(schema.AppendRow(nil, row))
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", object, got, want)
		}
	}
	const both = `{"id":1,"idle":"x"}`
	f(both, both)
	f(` { "idle" : "x" , "id" : 1 } `, both)
	f(`{"\u0069d":1,"idle":"x"}`, both)
	f(`{"id":1,"idl":"x"}`, "idl: no such column")
	f(`{"id":1,"idler":"x"}`, "idler: no such column")
	f(`{"id":1,"id":2}`, "id: given twice")
}
