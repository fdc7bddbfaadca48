package check

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// want demands faults of exactly these kinds.
func want(t *testing.T, faults []Fault, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		if !Has(faults, kind) {
			t.Errorf("no fault is called %s: %v", kind, faults)
		}
	}
	for _, f := range faults {
		found := false
		for _, kind := range kinds {
			found = found || f.Kind == kind
		}
		if !found {
			t.Errorf("false alarm: %s", f)
		}
	}
}

func TestOfAnswer(t *testing.T) {
	f := func(status int, body string, want Outcome) {
		t.Helper()
		if got := OfAnswer(status, body); got != want {
			t.Errorf("%d %s: %s, want %s", status, body, got, want)
		}
	}
	f(200, `{"status":"success"}`, Acknowledged)
	f(400, "", Rejected)
	f(409, "", Rejected)
	f(413, "", Rejected)
	f(503, `{"message":"<Error> the log of shard sh1 takes no writes now; nothing was written"}`, Rejected)
	f(503, "upstream is away", Unknown)
	f(504, "nothing was written", Unknown) // a contradiction: the worse of both
	f(500, "", Unknown)
	f(0, "", Unknown)
}

func row(key int64) Row { return Row{key, fmt.Sprint("v", key)} }

func rows(keys ...int64) (all []Row) {
	for _, key := range keys {
		all = append(all, row(key))
	}
	return all
}

func TestSet(t *testing.T) {
	writes := []Write{
		{Key: 1, Value: "v1", Outcome: Acknowledged}, {Key: 2, Value: "v2", Outcome: Acknowledged},
		{Key: 3, Value: "v3", Outcome: Rejected}, {Key: 4, Value: "v4", Outcome: Unknown},
		{Key: 5, Value: "v5", Outcome: Unknown, Group: 1}, {Key: 6, Value: "v6", Outcome: Unknown, Group: 1},
	}
	f := func(name string, a, b []Row, kinds ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			want(t, Set(writes, []Replica{{"Server1", a}, {"Server2", b}}), kinds...)
		})
	}
	f("all is well", rows(1, 2), rows(1, 2))
	f("an unknown one landed", rows(1, 2, 4), rows(1, 2, 4))
	f("an unknown group landed", rows(1, 2, 5, 6), rows(1, 2, 5, 6))
	f("acknowledged and lost everywhere", rows(1), rows(1), Lost)
	f("lost on one replica", rows(1, 2), rows(1), Lost, Differ)
	f("lost on the first replica", rows(2), rows(1, 2), Lost, Differ)
	f("an unknown one on one replica", rows(1, 2), rows(1, 2, 4), Differ)
	f("applied twice", rows(1, 2, 2), rows(1, 2), Twice)
	f("rejected and there", rows(1, 2, 3), rows(1, 2, 3), Undead)
	f("nobody wrote it", rows(1, 2, 9), rows(1, 2, 9), Phantom)
	f("another value", []Row{row(1), {2, "v1"}}, []Row{row(1), {2, "v1"}}, Phantom)
	f("half of a group", rows(1, 2, 5), rows(1, 2, 5), Torn)
	f("an empty replica", rows(1, 2), nil, Lost, Differ)
}

func TestCounter(t *testing.T) {
	wrote := func(v string, o Outcome) Step { return Step{Value: v, Outcome: o} }
	read := func(v string) Step { return Step{Read: true, Value: v, Outcome: Acknowledged} }
	f := func(name string, steps []Step, a, b string, kinds ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			want(t, Counter(7, "0", steps, []Replica{{"Server1", []Row{{7, a}, {8, "x"}}}, {"Server2", []Row{{7, b}}}}), kinds...)
		})
	}
	ok, no, open := Acknowledged, Rejected, Unknown
	f("all is well", []Step{wrote("1", ok), read("1"), wrote("2", ok)}, "2", "2")
	f("rejected", []Step{wrote("1", no), read("0")}, "0", "0")
	f("rejected and there", []Step{wrote("1", no)}, "1", "1", Stale)
	f("lost", []Step{wrote("1", ok), wrote("2", ok)}, "1", "1", Stale)
	f("lost between", []Step{wrote("1", ok), read("0"), wrote("2", ok)}, "2", "2", Stale)
	f("lost on one replica", []Step{wrote("1", ok)}, "1", "0", Stale, Differ)
	f("unknown, never done", []Step{wrote("1", open), read("0"), wrote("2", ok)}, "2", "2")
	f("unknown, done", []Step{wrote("1", open), read("1"), wrote("2", ok)}, "2", "2")
	f("unknown, done late", []Step{wrote("1", open), read("0"), wrote("2", ok), read("1")}, "1", "1")
	f("unknown, done twice", []Step{wrote("1", open), read("1"), wrote("2", ok)}, "1", "1", Stale)
	f("unknown, seen and gone", []Step{wrote("1", open), read("1"), read("0")}, "0", "0", Stale)
	f("nobody wrote it", []Step{wrote("1", ok), read("9")}, "9", "9", Phantom)
	f("a read without an answer", []Step{wrote("1", ok), {Read: true}}, "1", "1")
	want(t, Counter(7, "0", nil, []Replica{{"Server1", nil}}), Lost)
	want(t, Counter(7, "0", nil, []Replica{{"Server1", []Row{{7, "0"}, {7, "0"}}}}), Twice)
}

func op(client, kind, value string, call, ret int, o Outcome) Op {
	return Op{Client: client, Key: 7, Read: kind == "r", Value: value, Outcome: o, Call: time.Duration(call), Return: time.Duration(ret)}
}

func number(v string) (int, bool) {
	n, err := strconv.Atoi(v)
	return n, err == nil
}

func TestSession(t *testing.T) {
	f := func(name string, ops []Op, kinds ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			want(t, Session(ops, number), kinds...)
		})
	}
	ok := Acknowledged
	f("reads its write", []Op{op("a", "w", "1", 0, 10, ok), op("a", "r", "1", 11, 12, ok)})
	f("misses its write", []Op{op("a", "w", "1", 0, 10, ok), op("a", "r", "0", 11, 12, ok)}, Stale)
	f("another misses it", []Op{op("a", "w", "1", 0, 10, ok), op("b", "r", "0", 11, 12, ok)}, Stale)
	f("reads at the same time", []Op{op("a", "w", "1", 0, 10, ok), op("b", "r", "1", 1, 9, ok), op("c", "r", "0", 2, 8, ok)})
	f("goes back", []Op{op("a", "w", "1", 0, 10, ok), op("b", "r", "1", 1, 3, ok), op("b", "r", "0", 4, 5, ok)}, Stale)
	f("unknown, seen and gone", []Op{op("a", "w", "1", 0, 10, Unknown), op("b", "r", "1", 20, 21, ok), op("b", "r", "0", 22, 23, ok)}, Stale)
	f("unknown, seen late", []Op{op("a", "w", "1", 0, 10, Unknown), op("b", "r", "0", 20, 21, ok), op("b", "r", "1", 22, 23, ok)})
	f("from the future", []Op{op("b", "r", "1", 0, 1, ok), op("a", "w", "1", 2, 10, ok)}, Phantom)
	f("rejected and read", []Op{op("a", "w", "1", 0, 1, Rejected), op("b", "r", "1", 2, 3, ok)}, Phantom)
	f("nobody wrote it", []Op{op("b", "r", "5", 2, 3, ok), op("b", "r", "x", 0, 1, ok)}, Phantom)
	f("a read without an answer", []Op{op("a", "w", "1", 0, 10, ok), op("a", "r", "", 11, 12, Unknown)})
}

func TestLinearizable(t *testing.T) {
	f := func(name string, ops []Op, kinds ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			want(t, Linearizable(ops, time.Minute), kinds...)
		})
	}
	ok := Acknowledged
	f("one after another", []Op{op("a", "r", "", 0, 1, ok), op("a", "w", "x", 2, 3, ok), op("b", "r", "x", 4, 5, ok)})
	f("an acknowledged write is not read", []Op{op("a", "w", "x", 0, 3, ok), op("b", "r", "", 4, 5, ok)}, NotLinear)
	f("reads at the same time differ", []Op{op("a", "w", "x", 0, 9, ok), op("b", "r", "x", 1, 8, ok), op("c", "r", "", 2, 7, ok)})
	f("new, then old, while it is written", []Op{op("a", "w", "x", 0, 9, ok), op("b", "r", "x", 1, 2, ok), op("c", "r", "", 3, 4, ok)}, NotLinear)
	f("two writers, two orders", []Op{
		op("a", "w", "x", 0, 9, ok), op("b", "w", "y", 0, 9, ok),
		op("c", "r", "x", 10, 11, ok), op("d", "r", "y", 12, 13, ok),
	}, NotLinear)
	f("unknown lands late", []Op{op("a", "w", "x", 0, 1, Unknown), op("b", "r", "", 2, 3, ok), op("b", "r", "x", 4, 5, ok)})
	f("unknown lands and goes", []Op{op("a", "w", "x", 0, 1, Unknown), op("b", "r", "x", 2, 3, ok), op("b", "r", "", 4, 5, ok)}, NotLinear)
	f("rejected and read", []Op{op("a", "w", "x", 0, 1, Rejected), op("b", "r", "x", 2, 3, ok)}, NotLinear)
	f("reads without answers", []Op{op("a", "w", "x", 0, 1, ok), op("b", "r", "", 2, 3, Unknown)})
	f("nobody wrote it", []Op{op("b", "r", "z", 2, 3, ok)}, NotLinear)
}

// A register that is one gives histories that pass; one that gives back what
// was written before, somewhere, gives histories that do not.
func TestLinearizable_TellsARegisterFromABrokenOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ops := history(t)
		if faults := Linearizable(ops, time.Minute); len(faults) > 0 {
			t.Fatalf("false alarm: %v of %+v", faults, ops)
		}
		// The last write is acknowledged, and then forgotten.
		end := 1000
		broken := append(ops, op("z", "w", "new", end, end+1, Acknowledged), op("z", "r", "", end+2, end+3, Acknowledged))
		if faults := Linearizable(broken, time.Minute); len(faults) == 0 {
			t.Fatal("a lost write is not seen")
		}
	})
}

// history is what clients of a register see whose operations take effect at one
// moment between call and return.
func history(t *rapid.T) (ops []Op) {
	value := ""
	at := map[string]int{}
	for i := range rapid.IntRange(1, 60).Draw(t, "operations") {
		moment := 10 * (i + 1)
		client := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "client")
		if at[client] >= moment {
			continue // still busy
		}
		call := rapid.IntRange(max(at[client]+1, moment-35), moment).Draw(t, "call")
		ret := rapid.IntRange(moment, moment+35).Draw(t, "return")
		at[client] = ret
		o := op(client, rapid.SampledFrom([]string{"r", "w"}).Draw(t, "kind"), value, call, ret, Acknowledged)
		if !o.Read {
			o.Value = fmt.Sprint("v", i)
			if rapid.IntRange(0, 5).Draw(t, "answer lost") == 0 {
				o.Outcome = Unknown
			}
			if o.Outcome == Acknowledged || rapid.Bool().Draw(t, "done") {
				value = o.Value
			}
		}
		ops = append(ops, o)
	}
	if len(ops) == 0 {
		ops = append(ops, op("a", "r", "", 1, 2, Acknowledged))
	}
	return ops
}
