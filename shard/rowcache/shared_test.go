package rowcache

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"pgregory.net/rapid"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

var twoColumns = events.Schema{Columns: []string{"id", "name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}}

func named(key int64, name string) rowjson.Row {
	return rowjson.Row{rowjson.Int(key), rowjson.Text(name)}
}

// storeModel is a replica's store, and what is cached of it.
type storeModel struct {
	rows   *Rows
	seq    uint64
	stored map[int64]rowjson.Row
}

func (s *storeModel) line(key int64) Line {
	row, ok := s.stored[key]
	if !ok {
		return Line{Key: key}
	}
	return Line{key, append(twoColumns.AppendRow(nil, row), '\n')}
}

// apply has ops done, or a batch repeated, which does nothing.
func (s *storeModel) apply(repeated bool, notable []shardlog.Result, ops ...shardlog.Op) {
	s.seq++
	e := shardlog.Entry{Seq: s.seq, Batch: shardlog.Batch{ID: "b", Ops: ops}}
	r := shardlog.Results{Seq: s.seq, Ops: len(ops), Notable: notable}
	if repeated {
		r.Seq--
	}
	for i := range ops {
		if repeated || r.Op(i).Outcome != shardlog.Done {
			continue
		}
		for _, row := range ops[i].Rows {
			s.stored[row.Key()] = row
		}
		if ops[i].Key != nil {
			delete(s.stored, *ops[i].Key)
		}
	}
	s.rows.Applied([]shardlog.Entry{e}, []shardlog.Results{r})
}

// What is kept of several replicas is what the store of each holds, whatever
// becomes of them.
func TestCachedRows_AreThoseOfTheirStores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cache := New(32 << 10)
		var stores []*storeModel
		for range 3 {
			stores = append(stores, &storeModel{rows: &Rows{cache: cache, schema: twoColumns}, stored: map[int64]rowjson.Row{}})
		}
		keys := rapid.Int64Range(0, 200)
		wrote := 0
		text := func() string { // another each time
			wrote++
			return fmt.Sprint(wrote, strings.Repeat("x", wrote%97))
		}
		found := func(s *storeModel, keys []int64) Found {
			k := s.rows.Lookup(keys)
			if len(k.Rows)+len(k.Missing) != len(keys) {
				t.Fatalf("asked for %d, got %d and %d", len(keys), len(k.Rows), len(k.Missing))
			}
			for _, got := range k.Rows {
				if want := s.line(got.Key); string(got.Text) != string(want.Text) || k.Seq != s.seq {
					t.Fatalf("row %d at %d is %q, found %q at %d", got.Key, s.seq, want.Text, got.Text, k.Seq)
				}
			}
			return k
		}
		for _, s := range stores {
			s.rows.Begin(events.Position{})
		}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			s := stores[rapid.IntRange(0, 2).Draw(t, "replica")]
			key := keys.Draw(t, "key")
			switch rapid.IntRange(0, 8).Draw(t, "do") {
			case 0: // another process has written the store
				s.stored[key] = named(key, text())
				s.rows.Begin(events.Position{Seq: s.seq})
				if k := found(s, []int64{key}); len(k.Rows) > 0 {
					t.Fatal("something is known of a store that was opened anew")
				}
			case 1:
				s.apply(false, nil, shardlog.Op{Kind: shardlog.OpDelete, Key: &key})
				if k := found(s, []int64{key}); len(k.Rows) > 0 {
					t.Fatal("something is known of a row that an op named by its key")
				}
			case 2:
				s.apply(rapid.Bool().Draw(t, "repeated"), []shardlog.Result{{Op: 0, Outcome: shardlog.Duplicate}},
					shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{named(key, "not done")}},
					shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{named(key+1, "done at most")}})
				if k := found(s, []int64{key}); len(k.Rows) > 0 {
					t.Fatal("something is known of what was not done")
				}
			case 3, 4:
				k := found(s, []int64{key, key + 1, key + 2})
				move := func(when string) {
					if rapid.IntRange(0, 2).Draw(t, when) == 0 {
						s.apply(false, nil, shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{named(key, when)}})
					}
				}
				move("moves before the store is asked")
				var lines []Line
				for key := range s.stored {
					lines = append(lines, s.line(key))
				}
				slices.SortFunc(lines, func(a, b Line) int { return a.compare(b.Key) })
				seq := s.seq
				move("moves before it is learned")
				moved := k.Seq != s.seq
				if s.rows.Fill(&k, seq, lines) == moved {
					t.Fatalf("looked at %d, asked at %d, learned at %d: %v", k.Seq, seq, s.seq, !moved)
				}
				if got := string(Answer(k.Rows, k.Seq)); !moved && got != string(Answer([]Line{s.line(key), s.line(key + 1), s.line(key + 2)}, s.seq)) {
					t.Fatalf("learned %q", got)
				}
				found(s, []int64{key, key + 1, key + 2})
			default:
				op := shardlog.Op{Kind: shardlog.OpUpdate}
				var of []int64
				for i := range rapid.Int64Range(1, 60).Draw(t, "rows") {
					op.Rows = append(op.Rows, named(key+i, text()))
					of = append(of, key+i)
				}
				s.apply(false, nil, op)
				if rapid.Bool().Draw(t, "read") {
					for _, key := range found(s, of).Missing {
						if len(s.line(key).Text) <= cache.rows.log/128 {
							t.Fatalf("%d was written last, and is missing", key)
						}
					}
				}
			}
		}
		for _, s := range stores {
			found(s, slices.Sorted(maps.Keys(s.stored)))
		}
	})
}

// Who reads while others write finds all of what was written last, and nothing
// of another seq. The cache is for all that is written, in both generations.
func TestCachedRows_AreReadWhileTheyAreWritten(t *testing.T) {
	const keys, steps = 10, 130
	cache := New(256 << 10)
	of := make([]int64, keys)
	for i := range of {
		of[i] = int64(i)
	}
	var all sync.WaitGroup
	for range 3 {
		s := &storeModel{rows: &Rows{cache: cache, schema: twoColumns}, stored: map[int64]rowjson.Row{}}
		write := func() {
			op := shardlog.Op{Kind: shardlog.OpUpdate}
			for _, key := range of {
				op.Rows = append(op.Rows, named(key, fmt.Sprint(s.seq+1)))
			}
			s.apply(false, nil, op)
		}
		s.rows.Begin(events.Position{})
		write()
		ended := make(chan struct{})
		all.Go(func() {
			defer close(ended)
			for range steps {
				write()
			}
		})
		for range 2 {
			all.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
					}
					k := s.rows.Lookup(of)
					if len(k.Missing) > 0 {
						t.Errorf("at %d: %d are missing", k.Seq, k.Missing)
						return
					}
					for _, l := range k.Rows {
						if want := fmt.Sprintf("{\"id\":%d,\"name\":\"%d\"}\n", l.Key, k.Seq); string(l.Text) != want {
							t.Errorf("at %d: %q", k.Seq, l.Text)
							return
						}
					}
				}
			})
		}
	}
	all.Wait()
	if len(cache.rows.old.log) == 0 {
		t.Error("the young did not become the old")
	}
}

func TestCachedRows_ReadersDoNotWaitForEachOther(t *testing.T) {
	s := &storeModel{rows: &Rows{cache: New(64 << 10), schema: twoColumns}, stored: map[int64]rowjson.Row{}}
	s.rows.Begin(events.Position{})
	s.apply(false, nil, shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{named(1, "one")}})
	s.rows.Lookup([]int64{1})
	s.rows.cache.mu.RLock() // somebody else reads
	defer s.rows.cache.mu.RUnlock()
	read := make(chan Found)
	go func() { read <- s.rows.Lookup([]int64{1}) }()
	select {
	case k := <-read:
		if len(k.Rows) != 1 {
			t.Errorf("found %d", len(k.Rows))
		}
	case <-time.After(10 * time.Second):
		t.Fatal("one reader waits for another although nothing was written")
	}
}

// A replica that has ended is not held, and its rows give way to those of the
// others.
func TestCachedRows_OfAReplicaThatEndedGo(t *testing.T) {
	cache := New(64 << 10)
	fill := func() weak.Pointer[Rows] {
		s := &storeModel{rows: &Rows{cache: cache, schema: twoColumns}, stored: map[int64]rowjson.Row{}}
		s.rows.Begin(events.Position{})
		for key := range int64(2000) {
			s.apply(false, nil, shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{named(key, strings.Repeat("x", 60))}})
		}
		return weak.Make(s.rows)
	}
	left := func(life uint32) (n int) {
		for key := range int64(2000) {
			if _, ok := kept(cache.rows, nameOf(life, key)); ok {
				n++
			}
		}
		return n
	}
	first := fill()
	if runtime.GC(); first.Value() != nil {
		t.Error("a replica that has ended is held")
	}
	if n := left(1); n < 300 {
		t.Fatalf("%d rows at first", n)
	}
	fill()
	if n := left(1); n > 0 {
		t.Errorf("%d rows of a replica that has ended", n)
	}
	if n := left(2); n < 300 {
		t.Errorf("%d rows of the other", n)
	}
}

func TestCachedRows_WritingLeavesNoGarbage(t *testing.T) {
	c := &Rows{cache: New(64 << 10), schema: twoColumns}
	c.Begin(events.Position{})
	var rows []rowjson.Row
	for key := range int64(50) {
		rows = append(rows, named(key, strings.Repeat("x", 60)))
	}
	entries := []shardlog.Entry{{Seq: 1, Batch: shardlog.Batch{ID: "b", Ops: []shardlog.Op{{Kind: shardlog.OpUpdate, Rows: rows}}}}}
	done := []shardlog.Results{{Seq: 1, Ops: 1}}
	write := func() { // several generations
		for range 100 {
			c.Applied(entries, done)
		}
	}
	write()
	if n := testkit.Allocs(10, write); n > 0 {
		t.Errorf("%v allocations for 5000 rows", n)
	}
}
