package rowcache

import (
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

func TestCachedRows(t *testing.T) {
	c := &Rows{cache: New(512 << 10), schema: twoColumns}
	is := func(want string, keys ...int64) {
		t.Helper()
		got := ""
		if k := c.Lookup(keys); len(k.Missing) == 0 {
			got = string(Answer(k.Rows, k.Seq))
		}
		at, ok := c.Append([]byte("> "), keys)
		if got != want || ok != (want != "") || ok && string(at) != "> "+want {
			t.Errorf("%v: got %q and %q, want %q", keys, got, at, want)
		}
	}
	apply := func(seq, answers uint64, ops ...shardlog.Op) {
		e := shardlog.Entry{Seq: seq, Batch: shardlog.Batch{ID: "b", Ops: ops}}
		c.Applied([]shardlog.Entry{e}, []shardlog.Results{{Seq: answers, Ops: len(ops)}})
	}
	row := func(key int64, name string) shardlog.Op {
		return shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text(name)}}}
	}

	is("", 1)
	c.Begin(events.Position{Incarnation: "l", Seq: 4})
	is("", 1)
	apply(5, 5, row(1, "one"))
	is("{\"id\":1,\"name\":\"one\"}\n#5 1\n", 1)
	is("", 1, 2)

	learn := func(k Found, seq uint64, found ...Line) (string, bool) {
		ok := c.Fill(&k, seq, found)
		return string(Answer(k.Rows, k.Seq)), ok
	}
	const three = "{\"id\":1,\"name\":\"one\"}\nthree\n#5 2\n"
	if got, ok := learn(c.Lookup([]int64{1, 2, 3}), 5, Line{3, []byte("three\n")}); !ok || got != three {
		t.Errorf("learned: got %q %v", got, ok)
	}
	is(three, 1, 2, 3)
	old := c.Lookup([]int64{4})
	if _, ok := learn(old, 6); ok {
		t.Error("learned from a store that is ahead")
	}
	is("", 4)

	apply(6, 5, row(1, "again")) // a repetition of what was done at 5
	is("", 1)
	is("three\n#6 1\n", 2, 3)
	apply(7, 7, row(3, strings.Repeat("long ", 1000)))
	is("", 3)
	key := int64(2)
	apply(8, 8, shardlog.Op{Kind: shardlog.OpDelete, Key: &key})
	is("", 2)

	apply(9, 9, row(1, "one"))
	is("{\"id\":1,\"name\":\"one\"}\n#9 1\n", 1)
	c.Begin(events.Position{Incarnation: "l", Seq: 9})
	is("", 1)
	old.Seq = 9
	if _, ok := learn(old, 9); ok {
		t.Error("learned what was looked for in another life")
	}
	is("", 4)
}
