// Package storetest says what every storage.Engine and storage.Store must do.
// Tests run it against each implementation, with its real files or server,
// and compare what they hold with a model of a few lines.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// Run runs the suite. open opens the same data each time it is called in one
// test, and different data in another; the suite closes what it opens.
func Run(t *testing.T, open func(t *testing.T) storage.Engine) {
	for name, test := range map[string]func(*fixture){
		"CreateOpenListDrop":         createOpenListDrop,
		"AwkwardNames":               awkwardNames,
		"ReadsWhatWasWritten":        readsWhatWasWritten,
		"ReadsMany":                  readsMany,
		"ValuesComeBack":             valuesComeBack,
		"ExtremeKeys":                extremeKeys,
		"Outcomes":                   outcomes,
		"InsertIsAllOrNothing":       insertIsAllOrNothing,
		"RepeatedBatchIsDropped":     repeatedBatchIsDropped,
		"RubbishChangesNothing":      rubbishChangesNothing,
		"KeptByTheLogsTime":          keptByTheLogsTime,
		"GapIsRefused":               gapIsRefused,
		"SecondApplierIsFenced":      secondApplierIsFenced,
		"SecondApplierLeavesNothing": secondApplierLeavesNothing,
		"OneOfTwoAppliersWins":       oneOfTwoAppliersWins,
		"Rebase":                     rebase,
		"SurvivesReopening":          survivesReopening,
		"LargeTransaction":           largeTransaction,
		"LargestOp":                  largestOp,
		"RangeStops":                 rangeStops,
		"ReadersDoNotWait":           readersDoNotWait,
		"LongReadsHoldUpNobody":      longReadsHoldUpNobody,
		"SnapshotStandsStill":        snapshotStandsStill,
		"CopyIsEqual":                copyIsEqual,
		"HalfACopyIsNone":            halfACopyIsNone,
		"CopyOfRubbishIsRefused":     copyOfRubbishIsRefused,
		"DurableThrough":             durableThrough,
		"DigestTellsAnyDifference":   digestTellsAnyDifference,
		"CancelledApplyIsAllOrNone":  cancelledApplyIsAllOrNone,
		"AnyLogLikeTheModel":         anyLogLikeTheModel,
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{T: t, openEngine: open, spec: Students()}
			f.open()
			t.Cleanup(f.close)
			test(f)
		})
	}
}

// Students is the course's table, as one shard.
func Students() events.ShardSpec {
	return events.ShardSpec{
		Table:  "StudT",
		Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks", "Score"}, DTypes: []string{"Number", "String", "String", "Number"}},
		Shard:  events.Shard{ID: "sh1", Low: 0, Size: 1_000_000_000},
	}
}

// Student is a row of it.
func Student(id int64, name string, marks rowjson.Value) rowjson.Row {
	return rowjson.Row{rowjson.Int(id), rowjson.Text(name), marks, rowjson.Int(id)}
}

// Log is the incarnation of the suite's log.
const Log = "LOG1"

// noon is when the suite's log begins; every entry is a second later.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// fixture is an engine with one replica and a log, of which the model has
// applied as much as the replica.
type fixture struct {
	*testing.T
	openEngine func(t *testing.T) storage.Engine
	engine     storage.Engine
	spec       events.ShardSpec
	store      storage.Store
	model      *model
	now        time.Time
}

func (f *fixture) open() {
	f.Helper()
	f.engine = f.openEngine(f.T)
}

func (f *fixture) close() {
	if f.engine == nil {
		return
	}
	f.must(f.engine.Close())
	f.engine, f.store = nil, nil
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("got error %v, want %v", err, want)
	}
}

// finish ends a copy, and opens what came of it.
func (f *fixture) finish(restore storage.Restore) {
	f.Helper()
	f.must(restore.Finish(f.Context()))
	var err error
	f.store, err = f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
}

// create makes the replica.
func (f *fixture) create() {
	f.Helper()
	store, err := f.engine.Create(f.Context(), f.spec, Log)
	f.must(err)
	f.store, f.model, f.now = store, newModel(f.spec, Log), noon
}

// batch is the next batch of the log.
func (f *fixture) batch(ops ...shardlog.Op) shardlog.Entry {
	return f.entries([][]shardlog.Op{ops})[0]
}

// entries are the next of the log, a batch each, with ids of their own.
func (f *fixture) entries(batches [][]shardlog.Op) []shardlog.Entry {
	var all []shardlog.Entry
	for i, ops := range batches {
		seq := f.model.position.Seq + uint64(i) + 1
		f.now = f.now.Add(time.Second)
		all = append(all, shardlog.Entry{Seq: seq, Time: f.now, Batch: shardlog.Batch{
			ID: fmt.Sprintf("batch-%d", seq), Writer: "r1", Table: f.spec.Table, Shard: f.spec.Shard.ID, Ops: ops,
		}})
	}
	return all
}

// apply applies entries to replica and model, in one transaction, and compares
// the results.
func (f *fixture) apply(entries ...shardlog.Entry) []shardlog.Results {
	f.Helper()
	got, err := f.store.Apply(f.Context(), f.model.position, entries)
	f.must(err)
	var want []shardlog.Results
	for _, e := range entries {
		want = append(want, f.model.apply(e))
	}
	if !reflect.DeepEqual(got, want) {
		f.Fatalf("got results\n%s, want\n%s", shown(got), shown(want))
	}
	return got
}

func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// agree demands that the replica holds what the model holds.
func (f *fixture) agree() {
	f.Helper()
	snap, err := f.store.Snapshot(f.Context())
	f.must(err)
	got := items(f.T, snap)
	f.must(snap.Close())
	if want := items(f.T, f.model); shown(got) != shown(want) {
		f.Fatalf("the replica holds\n%s, want\n%s", shown(got), shown(want))
	}
	if got, want := snap.Head(), f.model.Head(); shown(got) != shown(want) {
		f.Fatalf("the replica is\n%s, want\n%s", shown(got), shown(want))
	}
	if got := f.digest(f.store); got != modelDigest(f.T, f.model) {
		f.Fatalf("equal states have different digests")
	}
}

type itemised interface {
	Items(ctx context.Context, fn func(shardapi.CopyItem) error) error
}

func items(t *testing.T, from itemised) []shardapi.CopyItem {
	t.Helper()
	var all []shardapi.CopyItem
	err := from.Items(t.Context(), func(i shardapi.CopyItem) error {
		all = append(all, i)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (f *fixture) digest(s storage.Store) shardlog.StateDigest {
	f.Helper()
	snap, err := s.Snapshot(f.Context())
	f.must(err)
	d, err := state.Digest(f.Context(), snap)
	f.must(err)
	f.must(snap.Close())
	return d
}

func modelDigest(t *testing.T, m *model) shardlog.StateDigest {
	t.Helper()
	d, err := state.Digest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Get reads one row; nil if it is not there.
func Get(ctx context.Context, store storage.Store, key int64) (row rowjson.Row, seq uint64, err error) {
	seq, err = store.Many(ctx, []int64{key}, func(r rowjson.Row) error {
		row = r
		return nil
	})
	return row, seq, err
}

// rows reads a range.
func (f *fixture) rows(low, high int64) []rowjson.Row {
	f.Helper()
	var all []rowjson.Row
	seq, err := f.store.Range(f.Context(), low, high, func(r rowjson.Row, at uint64) error {
		if at != f.model.position.Seq {
			return fmt.Errorf("row %d is read at seq %d", r.Key(), at)
		}
		all = append(all, r)
		return nil
	})
	f.must(err)
	if seq != f.model.position.Seq {
		f.Fatalf("read at seq %d, want %d", seq, f.model.position.Seq)
	}
	return all
}

// Ops in short.
func insert(rows ...rowjson.Row) shardlog.Op { return shardlog.Op{Kind: shardlog.OpInsert, Rows: rows} }
func update(row rowjson.Row) shardlog.Op {
	return shardlog.Op{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{row}}
}
func remove(key int64) shardlog.Op { return shardlog.Op{Kind: shardlog.OpDelete, Key: &key} }
func with(op shardlog.Op, key, body string) shardlog.Op {
	op.Idempotency = &shardlog.Idempotency{Key: key, Body: body}
	return op
}
func each(ops ...shardlog.Op) [][]shardlog.Op {
	var all [][]shardlog.Op
	for _, op := range ops {
		all = append(all, []shardlog.Op{op})
	}
	return all
}
