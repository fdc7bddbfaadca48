package storetest

import (
	"fmt"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/shard/storage"
)

func snapshotStandsStill(f *fixture) {
	f.create()
	f.apply(f.batch(with(insert(Student(1, "Ann", rowjson.Int(1))), "k", "b")))
	snap, err := f.store.Snapshot(f.Context())
	f.must(err)
	head, want := shown(f.model.Head()), shown(items(f.T, f.model))
	for i := range int64(5) {
		f.apply(f.batch(update(Student(1, fmt.Sprint(i), rowjson.Int(i))), insert(Student(10+i, "", rowjson.Int(1)))))
	}
	for range 2 { // it can be read again
		if got := shown(items(f.T, snap)); got != want || shown(snap.Head()) != head {
			f.Errorf("got %s, want %s", got, want)
		}
	}
	f.must(snap.Close())
	f.agree()
}

// fill begins a copy of the replica in another engine of the fixture's kind,
// or rather the same: the replica itself is dropped between.
func (f *fixture) takeCopy() (shardapi.CopyHead, []shardapi.CopyItem) {
	f.Helper()
	snap, err := f.store.Snapshot(f.Context())
	f.must(err)
	all := items(f.T, snap)
	f.must(snap.Close())
	return snap.Head(), all
}

func copyIsEqual(f *fixture) {
	f.create()
	var rows []rowjson.Row
	for i := range int64(3000) {
		rows = append(rows, Student(i, "x", []rowjson.Value{rowjson.Int(i), rowjson.Text("y")}[i%2]))
	}
	f.apply(f.batch(insert(rows...)))
	f.apply(f.batch(with(remove(7), "k", "b"), remove(7), update(Student(8, "😀\x00", rowjson.Text("8")))))
	head, all := f.takeCopy()
	before := f.digest()

	_, err := f.engine.Restore(f.Context(), head) // over a good copy
	f.is(err, storage.ErrExists)
	f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
	restore, err := f.engine.Restore(f.Context(), head)
	f.must(err)
	for len(all) > 0 {
		n := min(len(all), 501)
		f.must(restore.Add(f.Context(), all[:n]))
		all = all[n:]
	}
	f.finish(restore)
	if after := f.digest(); after != before {
		f.Errorf("got %+v, want %+v", after, before)
	}
	f.agree()
	f.apply(f.batch(with(remove(7), "k", "b"), insert(Student(7, "", rowjson.Int(7))))) // it remembers what was done
	f.agree()
}

func halfACopyIsNone(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)), Student(2, "Bob", rowjson.Int(2)))))
	head, all := f.takeCopy()
	f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
	restore, err := f.engine.Restore(f.Context(), head)
	f.must(err)
	f.must(restore.Add(f.Context(), all[:1]))
	_, err = f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.is(err, storage.ErrCopying)
	f.close() // as after a crash
	f.open()
	_, err = f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.is(err, storage.ErrCopying)
	if held, err := f.engine.List(f.Context()); err != nil || len(held) != 1 || !held[0].Copying || held[0].Position != head.Position {
		f.Errorf("got %+v, %v", held, err)
	}
	restore, err = f.engine.Restore(f.Context(), head) // begins anew
	f.must(err)
	f.must(restore.Add(f.Context(), all))
	f.finish(restore)
	f.agree()
}

func copyOfRubbishIsRefused(f *fixture) {
	f.create()
	head, _ := f.takeCopy()
	f.must(f.engine.Drop(f.Context(), f.spec.Table, f.spec.Shard.ID))
	restore, err := f.engine.Restore(f.Context(), head)
	f.must(err)
	for _, bad := range []shardapi.CopyItem{
		{Row: Student(-1, "of another shard", rowjson.Int(1))}, {Row: rowjson.Row{rowjson.Int(1)}}, {Row: Student(1, "\xff", rowjson.Int(1))},
	} {
		if err := restore.Add(f.Context(), []shardapi.CopyItem{{Row: Student(5, "", rowjson.Int(1))}, bad}); err == nil {
			f.Errorf("%v was copied", bad.Row)
		}
	}
	f.finish(restore)
	f.model.position = head.Position
	f.agree() // nothing of what was refused
}

func digestTellsAnyDifference(f *fixture) {
	f.create()
	seen := map[string]string{}
	look := func(what string) {
		f.Helper()
		d := f.digest()
		d.Position = events.Position{} // the content alone
		if other, ok := seen[shown(d)]; ok {
			f.Errorf("%q and %q have one digest", what, other)
		}
		seen[shown(d)] = what
	}
	look("empty")
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(27)))))
	look("one row")
	f.apply(f.batch(update(Student(1, "Ann", rowjson.Text("27")))))
	look("a string for a number")
	f.apply(f.batch(with(update(Student(1, "Ann", rowjson.Text("27"))), "k", "b")))
	look("an idempotency key")
	f.apply(f.batch(shardlog.Op{Kind: shardlog.OpBarrier}))
	look("one more result")
	f.agree()
}
