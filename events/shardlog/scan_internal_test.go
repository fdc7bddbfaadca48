package shardlog

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"ringway/events/rowjson"
)

func manyOps() []Op {
	key := int64(-7)
	text := rowjson.Text("Zoë \"Z\" <z@x>\n")
	half, _ := rowjson.Number("-0.5")
	return []Op{
		{Kind: OpInsert, Rows: []rowjson.Row{{rowjson.Int(1), text, half}, {rowjson.Int(2), rowjson.Text(""), rowjson.Text("27")}}, Idempotency: &Idempotency{Key: "pay 7", Body: "9f86"}},
		{Kind: OpUpdate, Rows: []rowjson.Row{{rowjson.Int(1), text, rowjson.Int(3)}}},
		{Kind: OpDelete, Key: &key}, {Kind: OpDelete, Key: &key, Idempotency: &Idempotency{Key: "<k>", Body: "b"}},
		{Kind: OpBarrier}, {Kind: OpDigest}, {Kind: "no op", Rows: []rowjson.Row{{}}},
	}
}

func TestOp_AppendWritesWhatTheLibraryWrites(t *testing.T) {
	for _, op := range manyOps() {
		want, err := json.Marshal(op)
		if got := op.Append(nil); err != nil || string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// What writers write has to be read on the fast path, or it is none.
func TestScanBatch_ReadsWhatWritersWrite(t *testing.T) {
	want := Batch{ID: "b1", Writer: "w1", Table: "StudT", Shard: "sh1", Ops: manyOps()[:6]}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := scanBatch(string(body)); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: got %+v, want %+v", ok, got, want)
	}
}

// However many rows an op has, and however wide they are, each has values of its own.
func TestScanBatch_ReadsRowsOfAllWidths(t *testing.T) {
	want := Batch{ID: "b1", Writer: "w1", Table: "StudT", Shard: "sh1"}
	key := int64(0)
	for _, rows := range []int{1, 2, 300, 1} {
		op := Op{Kind: OpInsert}
		for i := range rows {
			var row rowjson.Row
			for range 1 + i*7%rowjson.MaxColumns {
				key++
				row = append(row, rowjson.Int(key))
			}
			op.Rows = append(op.Rows, row)
		}
		want.Ops = append(want.Ops, op, Op{Kind: OpBarrier})
	}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := scanBatch(string(body))
	if !ok || !reflect.DeepEqual(got, want) {
		t.Fatalf("%v: %d ops are others", ok, len(got.Ops))
	}
	for _, op := range got.Ops {
		for _, row := range op.Rows {
			_ = append(row, rowjson.Int(0)) // must not reach the next one
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("rows share values")
	}
}

func TestScanBatch_ReadsValues(t *testing.T) {
	f := func(written string, want rowjson.Value) {
		t.Helper()
		got, ok := scanBatch(`{"id":"b","writer":"w","table":"t","shard":"s","ops":[{"op":"insert","rows":[[` + written + `]]}]}`)
		if ok != (want != rowjson.Value{}) || ok && got.Ops[0].Rows[0][0] != want {
			t.Errorf("%s: %v, got %+v", written, ok, got.Ops)
		}
	}
	half, _ := rowjson.Number("0.5")
	f(`0`, rowjson.Int(0))
	f(`-120`, rowjson.Int(-120))
	f(`0.5`, half)
	f(`""`, rowjson.Text(""))
	f(`"é"`, rowjson.Text("é"))
	f(`"a\\"`, rowjson.Text(`a\`))
	f(`"é\""`, rowjson.Text(`é"`))
	nines := strings.Repeat("9", rowjson.MaxIntegerDigits)
	long, _ := rowjson.Number(nines)
	f(nines, long)
	for _, refused := range []string{``, `-`, `-0`, `01`, `-01`, `1.0`, `1E2`, `1e3`, `+1`, `1-`, `1+1`, ` 1`, `1 `, "\n1", `1,`, `,1`, `"`, `"a`, `"a\`, `"a\"`, `"a\q"`, `"\ud800"`, "\"\n\"", "\"\xff\"", "\"\xff\\n\"", `null`, `[1]`, `1]`,
		strings.Repeat("9", rowjson.MaxIntegerDigits+1), strings.Repeat("1,", rowjson.MaxColumns) + "1"} {
		f(refused, rowjson.Value{})
	}
}

// FuzzScanBatch compares with the standard library's decoder.
func FuzzScanBatch(f *testing.F) {
	body, err := json.Marshal(Batch{ID: "b1", Writer: "w1", Table: "StudT", Shard: "sh1", Ops: manyOps()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"id":"","writer":"","table":"","shard":""]}`))
	for _, op := range []string{`{"op":"x","rows":[[01]]}`, `{"op":"x","rows":[[1.0,+1]]}`, `{"op":"x","key":1e3}`, `{"op":"x","rows":[["\ud800"]]}`, `{"op":"x","rows":[[1],]}`, `{"op":"x","rows":[[ 1]]}`, `{"op":"x"},`, `{"op":"x","rows":[[1]}`, `{"op":"x","rows":[[1`, `{"op":"x","rows":[]}`, `{"op":"x","rows":[]]}`,
		`{"op":"insert","rows":[[1E2,-0]]}`, `{"op":"insert","rows":[["é\\"]]}`, "{\"op\":\"insert\",\"rows\":[[\"\xff\"]]}", `{"op":"insert","rows":[[1,2],[3],[4,5,6]]},{"op":"insert","rows":[[7]]}`, `{"op":"insert"},{"op":"{\"op\":"}`} {
		f.Add([]byte(`{"id":"b","writer":"w","table":"t","shard":"s","ops":[` + op + `]}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := scanBatch(string(b))
		if !ok {
			return
		}
		var want Batch
		if err := json.Unmarshal(b, &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, the library %+v, %v", b, got, want, err)
		}
	})
}

func BenchmarkScanBatch(b *testing.B) {
	batch := Batch{ID: "b1", Writer: "w1", Table: "StudT", Shard: "sh1"}
	for range 30 {
		batch.Ops = append(batch.Ops, Op{Kind: OpInsert, Rows: []rowjson.Row{{rowjson.Int(123456), rowjson.Text("Student 2n9c"), rowjson.Int(42)}}})
	}
	body, err := json.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string][]byte{"scanned": body, "library": []byte(strings.Replace(string(body), ",", ", ", 1))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeBatch(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
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
