package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/storage"
)

// TestEngine runs the suite on every engine.
func TestEngine(t *testing.T) {
	for name, place := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // one works itself, the other has a server work
			testEngine(t, place(t))
		})
	}
}

func testEngine(t *testing.T, open opener) {
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

// fixture is an engine with one replica and a log, of which the model has
// applied as much as the replica.
type fixture struct {
	*testing.T
	openEngine opener
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

// agree demands that the replica holds what the model holds.
func (f *fixture) agree() {
	f.Helper()
	agree(f.T, f.store, f.model)
}

// digest is that of the replica.
func (f *fixture) digest() shardlog.StateDigest {
	f.Helper()
	snap, err := f.store.Snapshot(f.Context())
	f.must(err)
	d := digest(f.T, snap)
	f.must(snap.Close())
	return d
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

func each(ops ...shardlog.Op) [][]shardlog.Op {
	var all [][]shardlog.Op
	for _, op := range ops {
		all = append(all, []shardlog.Op{op})
	}
	return all
}
