// Package storetest is the conformance suite of storage.Engine and storage.Store.
//
// Its tests run against every engine, with its real files or server, and compare
// what that holds with a model of a few lines. What is not in a test file is for
// the tests of one engine too: a log without an end, an applier of it, and the check
// that a replica is what the log leads to.
package storetest

import (
	"context"
	"encoding/json"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

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

// Get reads one row; nil if it is not there.
func Get(ctx context.Context, store storage.Store, key int64) (row rowjson.Row, seq uint64, err error) {
	seq, err = store.Many(ctx, []int64{key}, func(r rowjson.Row) error {
		row = r
		return nil
	})
	return row, seq, err
}

// contents is what a snapshot has, and the model.
type contents interface {
	Head() shardapi.CopyHead
	Items(ctx context.Context, fn func(shardapi.CopyItem) error) error
}

// agree demands that a replica holds what the model holds.
func agree(t *testing.T, store storage.Store, model *model) {
	t.Helper()
	snap, err := store.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, head, sum := shown(items(t, snap)), shown(snap.Head()), digest(t, snap)
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if want := shown(items(t, model)); got != want {
		t.Fatalf("the replica holds\n%s, want\n%s", got, want)
	}
	if want := shown(model.Head()); head != want {
		t.Fatalf("the replica is\n%s, want\n%s", head, want)
	}
	if sum != digest(t, model) {
		t.Fatalf("equal states have different digests")
	}
}

func items(t *testing.T, from contents) []shardapi.CopyItem {
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

func digest(t *testing.T, of contents) shardlog.StateDigest {
	t.Helper()
	d, err := state.Digest(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
