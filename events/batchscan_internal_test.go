package events

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func manyOps() []Op {
	key := int64(-7)
	text := Text("Zoë \"Z\" <z@x>\n")
	half, _ := Number("-0.5")
	return []Op{
		{Kind: OpInsert, Rows: []Row{{Int(1), text, half}, {Int(2), Text(""), Text("27")}}, Idempotency: &Idempotency{Key: "pay 7", Body: "9f86"}},
		{Kind: OpUpdate, Rows: []Row{{Int(1), text, Int(3)}}},
		{Kind: OpDelete, Key: &key}, {Kind: OpDelete, Key: &key, Idempotency: &Idempotency{Key: "<k>", Body: "b"}},
		{Kind: OpBarrier}, {Kind: OpDigest}, {Kind: "no op", Rows: []Row{{}}},
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
			var row Row
			for range 1 + i*7%MaxColumns {
				key++
				row = append(row, Int(key))
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
			_ = append(row, Int(0)) // must not reach the next one
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("rows share values")
	}
}

func TestScanBatch_ReadsValues(t *testing.T) {
	f := func(written string, want Value) {
		t.Helper()
		got, ok := scanBatch(`{"id":"b","writer":"w","table":"t","shard":"s","ops":[{"op":"insert","rows":[[` + written + `]]}]}`)
		if ok != want.set || ok && got.Ops[0].Rows[0][0] != want {
			t.Errorf("%s: %v, got %+v", written, ok, got.Ops)
		}
	}
	half, _ := Number("0.5")
	f(`0`, Int(0))
	f(`-120`, Int(-120))
	f(`0.5`, half)
	f(`""`, Text(""))
	f(`"é"`, Text("é"))
	f(`"a\\"`, Text(`a\`))
	f(`"é\""`, Text(`é"`))
	f(strings.Repeat("9", MaxIntegerDigits), Value{text: strings.Repeat("9", MaxIntegerDigits), number: true, set: true})
	for _, refused := range []string{``, `-`, `-0`, `01`, `-01`, `1.0`, `1E2`, `1e3`, `+1`, `1-`, `1+1`, ` 1`, `1 `, "\n1", `1,`, `,1`, `"`, `"a`, `"a\`, `"a\"`, `"a\q"`, `"\ud800"`, "\"\n\"", "\"\xff\"", "\"\xff\\n\"", `null`, `[1]`, `1]`,
		strings.Repeat("9", MaxIntegerDigits+1), strings.Repeat("1,", MaxColumns) + "1"} {
		f(refused, Value{})
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
		batch.Ops = append(batch.Ops, Op{Kind: OpInsert, Rows: []Row{{Int(123456), Text("Student 2n9c"), Int(42)}}})
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
