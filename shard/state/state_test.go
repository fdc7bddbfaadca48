package state_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/state"
)

var (
	spec = events.ShardSpec{
		Table:  "T",
		Schema: events.Schema{Columns: []string{"id", "s", "n"}, DTypes: []string{"Number", "String", "Number"}},
		Shard:  events.Shard{ID: "a", Low: 0, Size: 100},
	}
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func row(key int64, s rowjson.Value) rowjson.Row {
	return rowjson.Row{rowjson.Int(key), s, rowjson.Int(1)}
}

func insert(keys ...int64) shardlog.Op {
	op := shardlog.Op{Kind: shardlog.OpInsert}
	for _, k := range keys {
		op.Rows = append(op.Rows, row(k, rowjson.Text("x")))
	}
	return op
}

func update(key int64) shardlog.Op {
	return shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row(key, rowjson.Text("y"))}}
}

func remove(key int64) shardlog.Op { return shardlog.Op{Kind: shardlog.OpDelete, Key: &key} }

func log(ops ...shardlog.Op) []shardlog.Entry {
	var all []shardlog.Entry
	for i, op := range ops {
		all = append(all, shardlog.Entry{Seq: uint64(i) + 1, Time: noon, Batch: shardlog.Batch{ID: fmt.Sprintf("b%d", i+1), Writer: "w", Table: "T", Shard: "a", Ops: []shardlog.Op{op}}})
	}
	return all
}

func keys(rows []rowjson.Row) (all []int64) {
	for _, r := range rows {
		all = append(all, r.Key())
	}
	return all
}

// A key that many ops touch is written once, as what it was and became.
func TestSettle_WritesTheNetEffect(t *testing.T) {
	f := func(there []int64, ins, upd, del string, ops ...shardlog.Op) {
		t.Helper()
		before := state.Before{Keys: map[int64]bool{}}
		for _, k := range there {
			before.Keys[k] = true
		}
		c, err := state.Settle(&spec, &before, log(ops...))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(keys(c.Insert), keys(c.Update), c.Delete); got != fmt.Sprint(ins, " ", upd, " ", del) {
			t.Errorf("got %s, want %s %s %s", got, ins, upd, del)
		}
	}
	f(nil, "[1 2]", "[]", "[]", insert(2), insert(1))
	f(nil, "[]", "[]", "[]", insert(1), remove(1))
	f(nil, "[1]", "[]", "[]", insert(1), update(1), remove(1), insert(1))
	f([]int64{1}, "[]", "[]", "[1]", remove(1))
	f([]int64{1}, "[]", "[1]", "[]", remove(1), insert(1))
	f([]int64{1}, "[]", "[1]", "[]", update(1), update(1))
	f([]int64{1}, "[]", "[]", "[1]", update(1), remove(1), remove(1))
	f([]int64{1}, "[]", "[]", "[]", insert(1), insert(1, 2), update(3))
}

func TestNeed(t *testing.T) {
	entries := log(insert(5, 3), insert(3))
	n := state.Need(entries)
	if fmt.Sprint(n.Keys, n.Batches, n.Idempotency) != "[3 5] [b1 b2] []" {
		t.Errorf("got %+v", n)
	}
	op := insert(9)
	op.Idempotency = &shardlog.Idempotency{Key: "k", Body: "b"}
	if n := state.Need(log(op)); n.Idempotency[0] != "k" {
		t.Errorf("got %+v", n)
	}
	for _, op := range []shardlog.Op{update(1), remove(1)} {
		if n := state.Need(log(op)); len(n.Keys) != 1 {
			t.Errorf("got %+v", n)
		}
	}
}

// Where Fresh has an answer, it is that of Settle with nothing there before.
func TestFresh_IsSettleWithNothingThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ops []shardlog.Op
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			keys := rapid.SliceOfN(rapid.Int64Range(0, 30), 1, 3).Draw(t, "keys")
			ops = append(ops, rapid.SampledFrom([]shardlog.Op{insert(keys...), insert(keys[0]), {Kind: shardlog.OpBarrier}, {Kind: shardlog.OpDigest}}).Draw(t, "op"))
		}
		entries := log(ops...)
		for i := range entries {
			entries[i].Time = noon.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "seconds")) * time.Second)
			entries[i].Batch.ID = fmt.Sprintf("b%d", rapid.IntRange(0, 50).Draw(t, "batch"))
		}
		before := state.Before{Position: events.Position{Incarnation: "life"}, Clock: noon}
		got, fresh := state.Fresh(&spec, &before, entries)
		want, err := state.Settle(&spec, &before, entries)
		if err != nil {
			t.Fatal(err)
		}
		met := len(want.Results) < len(entries)
		for _, r := range want.Answers {
			met = met || len(r.Notable) > 0
		}
		if fresh == met {
			t.Fatalf("fresh %v, though the answers are %+v", fresh, want.Answers)
		}
		if fresh && fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestFresh_LeavesTheRestToSettle(t *testing.T) {
	named := insert(1)
	named.Idempotency = &shardlog.Idempotency{Key: "k", Body: "b"}
	gap, foreign := log(insert(1), insert(2)), log(insert(1))
	gap[1].Seq++
	foreign[0].Batch.Shard = "b"
	for name, entries := range map[string][]shardlog.Entry{
		"update": log(update(1)), "delete": log(remove(1)), "idempotency key": log(named), "outside": log(insert(100)),
		"not of the table": log(shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(1)}}}), "gap": gap, "another shard": foreign,
	} {
		if c, fresh := state.Fresh(&spec, &state.Before{}, entries); fresh {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// However entries are gathered, and whatever a store still has of what is out
// of date, the answers are the same.
func TestSettle_DoesNotSeeWhatIsOutOfDate(t *testing.T) {
	at := noon.Add(-shardlog.ResultsKept)
	old := shardlog.KeptResults{At: at, Results: shardlog.Results{Batch: "b1", Seq: 99, Ops: 1}}
	before := state.Before{Clock: at, Results: map[string]shardlog.KeptResults{"b1": old}}
	c, err := state.Settle(&spec, &before, log(insert(1)))
	if err != nil || c.Answers[0].Seq != 1 || fmt.Sprint(c.Forget) != "[b1]" || len(c.Results) != 1 {
		t.Errorf("got %+v, %v", c, err)
	}
	old.At = at.Add(time.Nanosecond)
	before.Results["b1"] = old
	c, err = state.Settle(&spec, &before, log(insert(1)))
	if err != nil || c.Answers[0].Seq != 99 || len(c.Insert) != 0 || c.Forget != nil {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSettle_TheClockNeverStepsBack(t *testing.T) {
	entries := log(insert(1), insert(2))
	entries[1].Time = noon.Add(-time.Hour)
	c, err := state.Settle(&spec, &state.Before{}, entries)
	if err != nil || !c.Clock.Equal(noon) || !c.Results[1].At.Equal(noon) {
		t.Errorf("got %v, %v", c.Clock, err)
	}
}

func TestReadRow_ReversesKinds(t *testing.T) {
	for _, v := range []rowjson.Value{rowjson.Text("27"), rowjson.Int(27), rowjson.Text("")} {
		r := row(7, v)
		texts := []string{v.Raw(), "1.000000000000000000000000000000"}
		got, err := state.ReadRow(&spec.Schema, 7, texts, state.Kinds(&spec.Schema, r))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(r) {
			t.Errorf("got %v, %v, want %v", got, err, r)
		}
	}
	if k := state.Kinds(&spec.Schema, row(7, rowjson.Text("27"))); k != "" {
		t.Errorf("kinds %q where all is as declared", k)
	}
	for _, bad := range []struct {
		texts []string
		kinds string
	}{{[]string{"a"}, ""}, {[]string{"a", "1"}, "sn"}, {[]string{"a", "b"}, ""}, {[]string{"a", "1"}, "nnn"}} {
		if r, err := state.ReadRow(&spec.Schema, 7, bad.texts, bad.kinds); err == nil {
			t.Errorf("%v became %v", bad, r)
		}
	}
}

// A digest is compared between replicas of different releases: what it is of
// may not change by accident.
func TestResultsAreWhatDigestsAreOf(t *testing.T) {
	c, err := state.Settle(&spec, &state.Before{}, log(insert(1), insert(1)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c.Results)
	want := `[{"at":"2026-03-01T12:00:00Z","results":{"batch":"b1","table":"T","shard":"a","seq":1,"ops":1}},` +
		`{"at":"2026-03-01T12:00:00Z","results":{"batch":"b2","table":"T","shard":"a","seq":2,"ops":1,"results":[{"op":0,"outcome":"duplicate","keys":[1],"count":1}]}}]`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v", b, err)
	}
}

func BenchmarkFresh(b *testing.B) {
	var ops []shardlog.Op
	for i := range int64(64) {
		ops = append(ops, insert(i))
	}
	entries := log(ops...)
	b.ReportAllocs()
	for b.Loop() {
		if _, fresh := state.Fresh(&spec, &state.Before{}, entries); !fresh {
			b.Fatal("not fresh")
		}
	}
}

func BenchmarkSettle(b *testing.B) {
	var ops []shardlog.Op
	for i := range int64(64) {
		ops = append(ops, insert(i))
	}
	entries := log(ops...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := state.Settle(&spec, &state.Before{}, entries); err != nil {
			b.Fatal(err)
		}
	}
}
