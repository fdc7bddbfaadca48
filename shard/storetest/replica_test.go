package storetest

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/storage"
)

func createOpenListDrop(f *fixture) {
	if all, err := f.engine.List(f.Context()); err != nil || len(all) != 0 {
		f.Fatalf("at first: %v, %v", all, err)
	}
	_, err := f.engine.Open(f.Context(), "StudT", "sh1")
	f.is(err, events.ErrNotFound)
	f.must(f.engine.Drop(f.Context(), "StudT", "sh1"))
	f.create()
	if p, err := f.store.Position(f.Context()); err != nil || p != (events.Position{Incarnation: Log}) {
		f.Fatalf("got %v, %v", p, err)
	}
	f.agree()
	_, err = f.engine.Create(f.Context(), f.spec, "LOG2")
	f.is(err, storage.ErrExists)
	second, err := f.engine.Open(f.Context(), "StudT", "sh1")
	f.must(err)
	if !reflect.DeepEqual(second.Spec(), f.spec) {
		f.Errorf("got %+v, want %+v", second.Spec(), f.spec)
	}
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)))))
	all, err := f.engine.List(f.Context())
	if err != nil || len(all) != 1 || all[0].Copying || all[0].Position != f.model.position || !reflect.DeepEqual(all[0].Spec, f.spec) {
		f.Errorf("got %+v, %v", all, err)
	}
	f.must(f.engine.Drop(f.Context(), "StudT", "sh1"))
	_, err = f.engine.Open(f.Context(), "StudT", "sh1")
	f.is(err, events.ErrNotFound)
	f.create() // and nothing of the first is there
	f.agree()
	bad := f.spec
	bad.Table = "a`b"
	if _, err := f.engine.Create(f.Context(), bad, Log); err == nil {
		f.Error("an impossible name became a table")
	}
}

// Words of SQL, the longest names, and shards that differ little, side by side.
func awkwardNames(f *fixture) {
	long := strings.Repeat("x", 47)
	for _, s := range []events.ShardSpec{
		{Table: "select", Schema: events.Schema{Columns: []string{"order", "group", "rowid", "Oid", "name", "seq"}, DTypes: []string{"Number", "String", "String", "Number", "String", "Number"}}, Shard: events.Shard{ID: "table", Size: 10}},
		{Table: long + "a", Schema: events.Schema{Columns: []string{"k"}, DTypes: []string{"Number"}}, Shard: events.Shard{ID: long + "a", Size: 10}},
		{Table: long + "a", Schema: events.Schema{Columns: []string{"k"}, DTypes: []string{"Number"}}, Shard: events.Shard{ID: long + "b", Low: 10, Size: 10}},
		{Table: "sqlite_x", Schema: events.Schema{Columns: many(rowjson.MaxColumns), DTypes: dtypes(rowjson.MaxColumns)}, Shard: events.Shard{ID: "a", Size: 10}},
		{Table: "a_b", Schema: events.Schema{Columns: []string{"k"}, DTypes: []string{"Number"}}, Shard: events.Shard{ID: "c", Size: 10}},
		{Table: "a", Schema: events.Schema{Columns: []string{"k"}, DTypes: []string{"Number"}}, Shard: events.Shard{ID: "b_c", Size: 10}},
		{Table: "ringway_replicas", Schema: events.Schema{Columns: []string{"k"}, DTypes: []string{"Number"}}, Shard: events.Shard{ID: "results", Size: 10}},
	} {
		f.spec = s
		f.create()
		row := rowjson.Row{rowjson.Int(s.Shard.Low + 3)}
		for i := range s.Schema.Columns[1:] {
			row = append(row, rowjson.Int(int64(i)))
		}
		f.apply(f.batch(insert(row)))
		f.apply(f.batch(update(row)))
		f.agree()
	}
	if all, err := f.engine.List(f.Context()); err != nil || len(all) != 7 {
		f.Errorf("got %d, %v", len(all), err)
	}
}

func many(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("c%d_%s", i, strings.Repeat("y", 40)))
	}
	return all
}

func dtypes(n int) []string {
	all := []string{events.DTypeNumber}
	for i := range n - 1 {
		all = append(all, []string{events.DTypeString, events.DTypeNumber}[i%2])
	}
	return all
}

func readsWhatWasWritten(f *fixture) {
	f.create()
	f.apply(f.entries(each(
		insert(Student(5, "E", rowjson.Int(5)), Student(0, "Z", rowjson.Text("0"))),
		insert(Student(9, "N", rowjson.Int(9))),
		update(Student(5, "e", rowjson.Text("5"))),
		insert(Student(7, "S", rowjson.Int(7))),
		remove(9),
	))...)
	f.agree()
	row, seq, err := Get(f.Context(), f.store, 5)
	f.must(err)
	if seq != 5 || shown(row) != `[5,"e","5",5]` {
		f.Errorf("got %s at %d", shown(row), seq)
	}
	row, seq, err = Get(f.Context(), f.store, 9)
	f.must(err)
	if seq != 5 || row != nil {
		f.Errorf("got %s at %d, want nothing at 5", shown(row), seq)
	}
	for _, c := range []struct {
		low, high int64
		want      string
	}{{0, 7, `[0 5 7]`}, {1, 7, `[5 7]`}, {0, 6, `[0 5]`}, {5, 5, `[5]`}, {1, 4, `[]`}, {7, 5, `[]`}, {math.MinInt64, math.MaxInt64, `[0 5 7]`}} {
		got := []int64{}
		for _, r := range f.rows(c.low, c.high) {
			got = append(got, r.Key())
		}
		if fmt.Sprint(got) != c.want {
			f.Errorf("%d to %d: got %v, want %s", c.low, c.high, got, c.want)
		}
	}
}

func readsMany(f *fixture) {
	f.create()
	var rows []rowjson.Row
	for i := range int64(1500) {
		rows = append(rows, Student(2*i, "n", rowjson.Int(i)))
	}
	f.apply(f.batch(insert(rows...)))
	f.apply(f.batch(remove(4)))
	all := make([]int64, storage.MaxKeys)
	for i := range all {
		all[i] = int64(len(all) - i)
	}
	for _, c := range []struct {
		keys []int64
		want int
	}{{[]int64{0}, 1}, {[]int64{4}, 0}, {[]int64{6, 4, 2, 6, 3, math.MinInt64, math.MaxInt64}, 2}, {[]int64{2998, 8, 0}, 3}, {all, storage.MaxKeys/2 - 1}} {
		last, n := int64(-1), 0
		seq, err := f.store.Many(f.Context(), c.keys, func(r rowjson.Row) error {
			if r.Key() <= last || !slices.Contains(c.keys, r.Key()) {
				f.Errorf("row %d after %d", r.Key(), last)
			}
			last = r.Key()
			n++
			return nil
		})
		if err != nil || seq != 2 || n != c.want {
			f.Errorf("%d keys: %d rows at %d, %v; want %d at 2", len(c.keys), n, seq, err, c.want)
		}
	}
	for _, n := range []int{0, storage.MaxKeys + 1} {
		if _, err := f.store.Many(f.Context(), make([]int64, n), nil); err == nil {
			f.Errorf("%d keys were read", n)
		}
	}
	f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
	if _, err := f.store.Many(f.Context(), []int64{0}, nil); err == nil {
		f.Error("it reads what was dropped")
	}
}

func valuesComeBack(f *fixture) {
	f.create()
	number := func(s string) rowjson.Value {
		v, err := rowjson.Number(s)
		f.must(err)
		return v
	}
	for i, v := range []rowjson.Value{
		rowjson.Text(""), rowjson.Text(" "), rowjson.Text("a "), rowjson.Text("A"), rowjson.Text("a"), rowjson.Text("ä"), rowjson.Text("a\u0308"),
		rowjson.Text("\x00"), rowjson.Text("a\x00b\x00"), rowjson.Text("😀\U0010ffff"), rowjson.Text("\ufffd\ufeff"), rowjson.Text("'\"`\\%_?;--\n\r\t\x1a"),
		rowjson.Text("27"), rowjson.Text("27.0"), rowjson.Text("null"), rowjson.Text("1e3"), rowjson.Text(strings.Repeat("x", rowjson.MaxStringBytes)),
		rowjson.Text(strings.Repeat("é", rowjson.MaxStringBytes/2)),
		rowjson.Int(27), rowjson.Int(0), rowjson.Int(math.MinInt64), number("0.1"), number("-0.000000000000000000000000000001"),
		number(strings.Repeat("9", 35) + "." + strings.Repeat("9", 30)), number("-" + strings.Repeat("9", 35) + "." + strings.Repeat("9", 30)),
		number("9007199254740993"), number("1e34"), number("10"), number("100.10"),
	} {
		row := Student(int64(i), "x", v)
		if v.IsNumber() {
			row[3] = v
		}
		f.apply(f.batch(insert(row)))
		got, _, err := Get(f.Context(), f.store, int64(i))
		if err != nil || !reflect.DeepEqual(got, row) {
			f.Errorf("value %d: got %.200s, %v, want %.200s", i, shown(got), err, shown(row))
		}
	}
	f.agree()
}

func extremeKeys(f *fixture) {
	f.spec.Shard.Low, f.spec.Shard.Size = math.MinInt64, math.MaxInt64
	f.create()
	f.apply(f.batch(insert(Student(math.MinInt64, "low", rowjson.Int(1)), Student(-2, "high", rowjson.Int(1)))))
	f.agree()
	f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
	f.spec.Shard.Low, f.spec.Shard.Size = 1, math.MaxInt64
	f.create()
	row := Student(math.MaxInt64, "top", rowjson.Int(1))
	if got, err := f.store.Apply(f.Context(), f.model.position, []shardlog.Entry{f.batch(insert(row))}); err != nil || got[0].Notable != nil {
		f.Fatalf("got %+v, %v", got, err)
	}
	if got, _, err := Get(f.Context(), f.store, math.MaxInt64); err != nil || !reflect.DeepEqual(got, row) {
		f.Errorf("got %v, %v", got, err)
	}
}

func survivesReopening(f *fixture) {
	f.create()
	f.apply(f.batch(with(insert(Student(1, "Ann", rowjson.Int(1))), "k", "b")))
	f.close()
	f.open()
	store, err := f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
	f.store = store
	f.agree()
	f.apply(f.batch(with(insert(Student(1, "Ann", rowjson.Int(1))), "k", "b")))
	f.agree()
}

func rangeStops(f *fixture) {
	f.create()
	var rows []rowjson.Row
	for i := range int64(5000) {
		rows = append(rows, Student(i, strings.Repeat("x", 100), rowjson.Int(i)))
	}
	f.apply(f.batch(insert(rows...)))
	enough := fmt.Errorf("enough")
	n := 0
	_, err := f.store.Range(f.Context(), 0, math.MaxInt64, func(rowjson.Row, uint64) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	f.is(err, enough)
	ctx, cancel := context.WithCancel(f.Context())
	_, err = f.store.Range(ctx, 0, math.MaxInt64, func(rowjson.Row, uint64) error {
		cancel()
		return nil
	})
	f.is(err, context.Canceled)
	if got := len(f.rows(0, math.MaxInt64)); got != 5000 { // nothing is stuck
		f.Errorf("%d rows", got)
	}
}

// A range that a slow client reads keeps nobody from applying.
func readersDoNotWait(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "a", rowjson.Int(1)), Student(2, "b", rowjson.Int(2)))))
	var seen []string
	seq, err := f.store.Range(f.Context(), 0, 10, func(r rowjson.Row, _ uint64) error {
		if len(seen) == 0 {
			f.apply(f.batch(update(Student(2, "c", rowjson.Int(3))), remove(1)))
		}
		seen = append(seen, r[1].Raw())
		return nil
	})
	f.must(err)
	if seq != 1 || fmt.Sprint(seen) != "[a b]" {
		f.Errorf("read %v at %d; the state at 1 was a, b", seen, seq)
	}
	if got := f.rows(0, 10); len(got) != 1 || got[0][1].Raw() != "c" {
		f.Errorf("got %v", got)
	}
}

// Half of them are snapshots.
func longReadsHoldUpNobody(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "a", rowjson.Int(1)), Student(2, "b", rowjson.Int(2)))))
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	begun, over := make(chan struct{}), make(chan struct{})
	defer all.Wait()
	defer close(over)
	for i := range storage.LongReads {
		if i%2 == 0 {
			snap, err := f.store.Snapshot(ctx)
			f.must(err)
			defer snap.Close()
			continue
		}
		all.Go(func() {
			first := sync.OnceFunc(func() { begun <- struct{}{} })
			_, err := f.store.Range(ctx, 0, math.MaxInt64, func(rowjson.Row, uint64) error {
				first()
				<-over
				return nil
			})
			if err != nil {
				f.Error(err)
			}
		})
		<-begun
	}
	_, err := f.store.Position(ctx)
	f.must(err)
	_, err = f.store.Results(ctx, "batch-1")
	f.must(err)
	_, err = f.store.Many(ctx, []int64{1}, func(rowjson.Row) error { return nil })
	f.must(err)
	_, err = f.store.DurableThrough(ctx)
	f.must(err)
	f.apply(f.batch(remove(1)))
}

func durableThrough(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "a", rowjson.Int(1)))))
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	p, err := f.store.DurableThrough(ctx)
	if err != nil || p != f.model.position {
		f.Fatalf("got %v, %v, want %v", p, err, f.model.position)
	}
}
