package mysql

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
	"ringway/internal/testkit"
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

// nowhere is a server that hears what it is asked, and does nothing.
type nowhere struct {
	driver.Conn
	hear func(query string, args []driver.NamedValue)
}

func (n nowhere) Connect(context.Context) (driver.Conn, error) { return n, nil }
func (n nowhere) Driver() driver.Driver                        { return nil }
func (n nowhere) Close() error                                 { return nil }
func (n nowhere) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	n.hear(query, args)
	return driver.ResultNoRows, nil
}

func (n nowhere) transaction(t testing.TB) *transaction {
	db := sql.OpenDB(n)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	return &transaction{Store: newStore(nil, nil, studs), ctx: t.Context(), conn: conn}
}

// Each argument is where its mark is, however many rows there are and of
// whatever kinds.
func TestPutRows(t *testing.T) {
	usual, odd := stud(7), rowjson.Row{rowjson.Int(-8), rowjson.Int(9), rowjson.Text("x")}
	var got []string
	tr := nowhere{hear: func(query string, args []driver.NamedValue) {
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
		tr.kinds = ""
		mixed := rows[0][1].IsNumber() != rows[len(rows)-1][1].IsNumber()
		for _, known := range []bool{false, true} {
			var want []string
			for _, row := range rows {
				want = append(want, fmt.Sprint("int64 ", row.Key(), " ", row[1].Raw(), " ", row[2].Raw()))
				if !known || mixed {
					want[len(want)-1] += " " + state.Kinds(&studs.Schema, row)
				}
			}
			if got = nil; tr.putRows(rows, "") != nil || !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		}
		for _, a := range tr.args {
			if a.Value != nil {
				t.Fatalf("%v is still held", a.Value)
			}
		}
	}
	f(usual)
	f(odd)
	f(usual, odd)
	for _, n := range []int64{15, 16, 17, 33} {
		var rows []rowjson.Row
		for key := range n {
			rows = append(rows, stud(1000*key))
		}
		f(rows...)
		f(append(rows, odd)...)
	}
}

func TestPutRows_AllocatesForManyValuesAtOnce(t *testing.T) {
	tr := nowhere{hear: func(string, []driver.NamedValue) {}}.transaction(t)
	var rows []rowjson.Row
	for key := range int64(64) {
		rows = append(rows, stud(1000+key))
	}
	n := testkit.Allocs(10, func() {
		if err := tr.putRows(rows, ""); err != nil {
			t.Fatal(err)
		}
	})
	if most := float64(len(rows)) / 2; n > most {
		t.Errorf("%v allocations for %d rows, want at most %v", n, len(rows), most)
	}
}

// BenchmarkRows is what a replica does with a lot between its bus and its
// driver.
func BenchmarkRows(b *testing.B) {
	const first = 1_000_000
	crowd := func(batches, ops int) (all []shardlog.Batch) { // whose keys come about in their order
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
	for _, lot := range []struct {
		name    string
		batches []shardlog.Batch
	}{{"batch", crowd(1, 50)}, {"lot", crowd(40, 50)}, {"bulk", []shardlog.Batch{{Ops: []shardlog.Op{bulk}}}}} {
		b.Run(lot.name, func(b *testing.B) { benchmarkLot(b, lot.batches) })
	}
}

func benchmarkLot(b *testing.B, batches []shardlog.Batch) {
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
	t := nowhere{hear: func(string, []driver.NamedValue) {}}.transaction(b)
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
