package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/state"
)

var studs = events.ShardSpec{
	Table: "StudT",
	Schema: events.Schema{
		Columns: []string{"Stud_id", "Stud_name", "Stud_marks"},
		DTypes:  []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
	},
	Shard: events.Shard{ID: "sh1", Low: 0, Size: 1 << 40},
}

// stud is a row as lab/bench writes it.
func stud(key int64) rowjson.Row {
	return rowjson.Row{rowjson.Int(key), rowjson.Text("Student " + strconv.FormatInt(key, 36)), rowjson.Int(key % 101)}
}

var backquoted = Dialect{Quote: "`", MaxMarks: 65_535}

// nowhere is a server that only notes what it is asked.
type nowhere struct {
	driver.Conn
	asked func(query string, args []driver.NamedValue)
}

func (n nowhere) Connect(context.Context) (driver.Conn, error) { return n, nil }
func (n nowhere) Driver() driver.Driver                        { return nil }
func (n nowhere) Close() error                                 { return nil }
func (n nowhere) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	n.asked(query, args)
	return driver.ResultNoRows, nil
}

func (n nowhere) transaction(t testing.TB) *transaction {
	db := sql.OpenDB(n)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	return &transaction{Store: New(&backquoted, nil, nil, studs, Place{Rows: "`StudT$sh1`"}), ctx: t.Context(), conn: conn}
}

func TestChunks(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 7, 255, 256, 257, 1000} {
		items, total, parts := make([]int, n), 0, 0
		err := chunks(items, 1000, func(int) int { return 1 }, func(part []int) error {
			if !slices.Contains(sizes, len(part)) {
				t.Errorf("%d: a part of %d", n, len(part))
			}
			total += len(part)
			parts++
			return nil
		})
		if err != nil || total != n {
			t.Errorf("%d became %d, %v", n, total, err)
		}
		if most := n/256 + 4; parts > most {
			t.Errorf("%d in %d statements, want at most %d", n, parts, most)
		}
	}
	err := chunks(make([]int, 10), 1000, func(int) int { return statementSize }, func(part []int) error {
		if len(part) != 1 {
			t.Errorf("%d huge items in one statement", len(part))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Each argument is where its mark is, however many rows there are and of
// whatever kinds.
func TestPutRows(t *testing.T) {
	usual, odd := stud(7), rowjson.Row{rowjson.Int(-8), rowjson.Int(9), rowjson.Text("x")}
	var got []string
	tr := nowhere{asked: func(query string, args []driver.NamedValue) {
		if marks := strings.Count(query, "?"); marks != len(args) {
			t.Errorf("%d arguments for %d marks", len(args), marks)
		}
		width := len(args) / (strings.Count(query, "(?"))
		for i, a := range args {
			if a.Ordinal != i+1 {
				t.Errorf("argument %d is numbered %d", i+1, a.Ordinal)
			}
			if i%width == 0 {
				got = append(got, fmt.Sprintf("%T", a.Value))
			}
			got[len(got)-1] += fmt.Sprint(" ", a.Value)
		}
	}}.transaction(t)
	f := func(rows ...rowjson.Row) {
		t.Helper()
		var want []string
		for _, row := range rows {
			want = append(want, fmt.Sprint("int64 ", row.Key(), " ", row[1].Raw(), " ", row[2].Raw(), " ", state.Kinds(&studs.Schema, row)))
		}
		if got = nil; tr.putRows(rows, "") != nil || !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	f(usual)
	f(odd)
	f(usual, odd)
	for _, n := range []int64{15, 16, 17, 33, 300} {
		var rows []rowjson.Row
		for key := range n {
			rows = append(rows, stud(1000*key))
		}
		f(rows...)
		f(append(rows, odd)...)
	}
}

// BenchmarkRows is what a replica does with a fetch batch between its bus and its
// driver.
func BenchmarkRows(b *testing.B) {
	const first = 1_000_000
	batches := func(batches, ops int) (all []shardlog.Batch) { // whose keys come about in their order
		for i := range batches {
			batch := shardlog.Batch{}
			for j := range ops {
				key := int64(first + i*ops + j*7%ops)
				batch.Ops = append(batch.Ops, shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{stud(key)}})
			}
			all = append(all, batch)
		}
		return all
	}
	bulk := shardlog.Op{Kind: shardlog.OpInsert}
	for i := range int64(2000) {
		bulk.Rows = append(bulk.Rows, stud(first+i))
	}
	for _, c := range []struct {
		name    string
		batches []shardlog.Batch
	}{{"batch", batches(1, 50)}, {"fetch batch", batches(40, 50)}, {"bulk", []shardlog.Batch{{Ops: []shardlog.Op{bulk}}}}} {
		b.Run(c.name, func(b *testing.B) { benchmarkRows(b, c.batches) })
	}
}

func benchmarkRows(b *testing.B, batches []shardlog.Batch) {
	bodies := make([][]byte, len(batches))
	for i, batch := range batches {
		batch.ID, batch.Writer, batch.Table, batch.Shard = fmt.Sprintf("KMZB7QTR2N%04d", i), "w1", studs.Table, studs.Shard.ID
		var err error
		if bodies[i], err = json.Marshal(batch); err != nil {
			b.Fatal(err)
		}
	}
	entries := make([]shardlog.Entry, len(bodies))
	decode := func() {
		for i, body := range bodies {
			batch, err := shardlog.DecodeBatch(body)
			if err != nil {
				b.Fatal(err)
			}
			entries[i] = shardlog.Entry{Seq: uint64(i + 1), Batch: batch}
		}
	}
	fresh := func() state.Change {
		c, ok := state.Fresh(&studs, &state.Before{}, entries)
		if !ok {
			b.Fatal("not fresh")
		}
		return c
	}
	t := nowhere{asked: func(string, []driver.NamedValue) {}}.transaction(b)
	put := func(c *state.Change) {
		if err := t.putRows(c.Insert, ""); err != nil {
			b.Fatal(err)
		}
	}
	decode()
	change := fresh()
	for _, part := range []struct {
		name string
		do   func()
	}{{"decode", decode}, {"fresh", func() { fresh() }}, {"put", func() { put(&change) }}, {"all", func() { decode(); c := fresh(); put(&c) }}} {
		b.Run(part.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				part.do()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(change.Insert)), "ns/row")
		})
	}
}
