package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/state"
	"ringway/shard/storage"
)

func outcomes(f *fixture) {
	f.create()
	ann, bob := Student(1, "Ann", rowjson.Int(1)), Student(2, "Bob", rowjson.Int(2))
	got := f.apply(f.batch(
		insert(ann), insert(ann), update(ann), update(bob), remove(2), remove(1), remove(1), insert(ann, bob),
		shardlog.Op{Kind: shardlog.OpBarrier}, shardlog.Op{Kind: shardlog.OpDigest},
		with(insert(Student(3, "", rowjson.Int(3))), "k", "b1"), with(insert(Student(3, "", rowjson.Int(3))), "k", "b1"), with(remove(3), "k", "b2"),
		insert(ann, ann), insert(Student(-1, "", rowjson.Int(0))),
	))
	var outcomes []string
	for i := range got[0].Ops {
		outcomes = append(outcomes, string(got[0].Op(i).Outcome))
	}
	want := "done duplicate done missing missing done missing done done done done done mismatch duplicate invalid"
	if strings.Join(outcomes, " ") != want {
		f.Errorf("got %v, want %s", outcomes, want)
	}
	f.agree()
	kept, err := f.store.Results(f.Context(), got[0].Batch)
	if err != nil || shown(kept) != shown(got[0]) {
		f.Errorf("kept %s, %v, want %s", shown(kept), err, shown(got[0]))
	}
	_, err = f.store.Results(f.Context(), "never")
	f.is(err, events.ErrNotFound)
}

func insertIsAllOrNothing(f *fixture) {
	f.create()
	var some, all []rowjson.Row
	for i := range int64(300) {
		row := Student(i, "x", rowjson.Int(i))
		if all = append(all, row); i%2 == 0 {
			some = append(some, row)
		}
	}
	f.apply(f.batch(insert(some...)))
	got := f.apply(f.batch(insert(all...)))[0].Op(0)
	if got.Outcome != shardlog.Duplicate || got.Count != 150 || len(got.Keys) != shardlog.MaxListedKeys || got.Keys[1] != 2 {
		f.Errorf("got %+v", got)
	}
	if n := len(f.rows(0, 1000)); n != 150 {
		f.Errorf("%d rows, want 150", n)
	}
	f.agree()
}

func repeatedBatchIsDropped(f *fixture) {
	f.create()
	first := f.batch(insert(Student(1, "Ann", rowjson.Int(1))))
	f.apply(first)
	f.apply(f.batch(remove(1)))
	again := f.batch()
	again.Batch = first.Batch
	got := f.apply(again)
	if got[0].Seq != 1 || got[0].Op(0).Outcome != shardlog.Done || len(f.rows(0, 10)) != 0 {
		f.Errorf("got %+v and %v", got, f.rows(0, 10))
	}
	twice := f.entries(each(insert(Student(2, "Bob", rowjson.Int(2))), remove(2)))
	twice[1].Batch = twice[0].Batch // within one transaction
	f.apply(twice...)
	f.agree()
}

// What a broken writer puts into a log is refused alike everywhere.
func rubbishChangesNothing(f *fixture) {
	f.create()
	other := f.batch(insert(Student(1, "Ann", rowjson.Int(1))))
	other.Batch.Shard = "sh2"
	rubbish := []shardlog.Op{
		{}, {Kind: "drop"}, {Kind: shardlog.OpInsert}, {Kind: shardlog.OpUpdate}, {Kind: shardlog.OpDelete},
		insert(rowjson.Row{}), insert(rowjson.Row{rowjson.Int(1)}), insert(rowjson.Row{rowjson.Text("1"), rowjson.Text(""), rowjson.Text(""), rowjson.Int(1)}),
		insert(Student(1, "\xff", rowjson.Int(1))), insert(Student(1, "", rowjson.Value{})),
	}
	entries := []shardlog.Entry{other}
	f.model.position.Seq++ // so that the next follows
	for _, op := range rubbish {
		entries = append(entries, f.batch(op))
		f.model.position.Seq++
	}
	f.model.position.Seq = 0
	got, err := f.store.Apply(f.Context(), f.model.position, entries)
	f.must(err)
	for i, r := range got {
		if r.Op(0).Outcome != shardlog.Invalid || r.Op(0).Detail == "" {
			f.Errorf("entry %d: %+v", i, r)
		}
	}
	f.model.position = events.Position{Incarnation: Log, Seq: uint64(len(entries)), Batch: entries[len(entries)-1].Batch.ID}
	if rows := f.rows(-10, 10); len(rows) != 0 {
		f.Errorf("rows of rubbish: %v", rows)
	}
}

func keptByTheLogsTime(f *fixture) {
	f.create()
	op := with(insert(Student(1, "Ann", rowjson.Int(1))), "k", "b")
	first := f.batch(op)
	f.apply(first)
	f.now = f.now.Add(-time.Hour) // the log's clock steps back: that keeps nothing longer
	f.apply(f.batch(shardlog.Op{Kind: shardlog.OpBarrier}))
	f.now = first.Time.Add(shardlog.ResultsKept - 2*time.Second)
	f.apply(f.batch(shardlog.Op{Kind: shardlog.OpBarrier}))
	_, err := f.store.Results(f.Context(), first.Batch.ID)
	f.must(err)
	f.apply(f.batch(shardlog.Op{Kind: shardlog.OpBarrier})) // now it is ten minutes
	_, err = f.store.Results(f.Context(), first.Batch.ID)
	f.is(err, events.ErrNotFound)
	f.agree()
	reused := f.batch(remove(1)) // the id is free again
	reused.Batch.ID = first.Batch.ID
	f.apply(reused)
	f.agree()
	f.now = first.Time.Add(shardlog.IdempotencyKept - 2*time.Second)
	if got := f.apply(f.batch(op)); got[0].Op(0).Of != shardlog.OpID(first.Batch.ID, 0) {
		f.Errorf("got %+v", got)
	}
	if got := f.apply(f.batch(op)); got[0].Op(0).Of != "" { // and after a day it is a new one
		f.Errorf("got %+v", got)
	}
	f.agree()
	f.now = f.now.Add(48 * time.Hour)
	f.apply(f.batch(shardlog.Op{Kind: shardlog.OpBarrier}))
	f.agree()
}

func gapIsRefused(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)))))
	for _, seqs := range [][]uint64{{3}, {1}, {2, 4}, {2, 2}, {0}} {
		var entries []shardlog.Entry
		for _, seq := range seqs {
			e := f.batch(insert(Student(int64(seq)+100, "x", rowjson.Int(1))))
			e.Seq = seq
			e.Batch.ID = fmt.Sprint("gap-", seq, len(entries))
			entries = append(entries, e)
		}
		_, err := f.store.Apply(f.Context(), f.model.position, entries)
		f.is(err, state.ErrGap)
		f.agree()
	}
	if got, err := f.store.Apply(f.Context(), f.model.position, nil); err != nil || len(got) != 0 {
		f.Errorf("of nothing: %v, %v", got, err)
	}
}

func secondApplierIsFenced(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)))))
	second, err := f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
	entry := f.batch(insert(Student(2, "Bob", rowjson.Int(2))))
	p := f.model.position
	for _, wrong := range []events.Position{
		{Incarnation: "LOG2", Seq: p.Seq, Batch: p.Batch}, {Incarnation: Log, Seq: p.Seq, Batch: "other"}, {Incarnation: Log, Seq: p.Seq + 1, Batch: p.Batch}, {},
	} {
		e := entry
		e.Seq = wrong.Seq + 1
		for _, s := range []storage.Store{f.store, second} {
			_, err := s.Apply(f.Context(), wrong, []shardlog.Entry{e})
			f.is(err, storage.ErrFenced)
		}
		f.agree()
	}
	got, err := second.Apply(f.Context(), p, []shardlog.Entry{entry})
	f.must(err)
	_, err = f.store.Apply(f.Context(), p, []shardlog.Entry{entry}) // which believes what it knew
	f.is(err, storage.ErrFenced)
	if want := f.model.apply(entry); shown(got[0]) != shown(want) {
		f.Errorf("got %s, want %s", shown(got[0]), shown(want))
	}
	f.agree()
	f.apply(f.batch(remove(1))) // and the first goes on when it has looked
	f.agree()
}

// What the second applier writes meets nothing of what the first does: the
// position alone keeps them apart.
func secondApplierLeavesNothing(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)))))
	second, err := f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
	for i, op := range []shardlog.Op{insert(Student(3, "Cid", rowjson.Int(3))), {Kind: shardlog.OpBarrier}, insert(Student(4, "Dan", rowjson.Int(4)))} {
		entry, other := f.batch(insert(Student(int64(20+i), "Bob", rowjson.Int(2)))), f.batch(op)
		p := f.model.position
		_, err = second.Apply(f.Context(), p, []shardlog.Entry{entry})
		f.must(err)
		other.Batch.ID = "another"
		_, err = f.store.Apply(f.Context(), p, []shardlog.Entry{other}) // which believes what it knew
		f.is(err, storage.ErrFenced)
		f.model.apply(entry)
		f.agree()
		f.apply(f.batch(remove(int64(20 + i)))) // so that the first knows again
	}
}

func oneOfTwoAppliersWins(f *fixture) {
	f.create()
	second, err := f.engine.Open(f.Context(), f.spec.Table, f.spec.Shard.ID)
	f.must(err)
	for i := range int64(20) {
		entry := f.batch(insert(Student(i, "x", rowjson.Int(i))))
		from := f.model.position
		var errs [2]error
		var both sync.WaitGroup
		for n, s := range []storage.Store{f.store, second} {
			both.Go(func() { _, errs[n] = s.Apply(f.Context(), from, []shardlog.Entry{entry}) })
		}
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), storage.ErrFenced) && !errors.Is(errors.Join(errs[:]...), storage.ErrRetry) {
			f.Fatalf("entry %d: %v and %v", entry.Seq, errs[0], errs[1])
		}
		f.model.apply(entry)
	}
	f.agree()
}

func rebase(f *fixture) {
	f.create()
	f.apply(f.batch(insert(Student(1, "Ann", rowjson.Int(1)))))
	to := events.Position{Incarnation: "LOG2"}
	f.is(f.store.Rebase(f.Context(), events.Position{Incarnation: Log}, to), storage.ErrFenced)
	f.agree()
	f.must(f.store.Rebase(f.Context(), f.model.position, to))
	f.model.position = to
	f.agree()
	entry := f.batch(insert(Student(2, "Bob", rowjson.Int(2))))
	entry.Batch.ID = "first-of-the-new"
	entry.Time = f.model.clock // not later than the last of the old
	f.apply(entry)
	f.agree()
}

// As many batches as a busy shard gathers, of every kind of op.
func largeTransaction(f *fixture) {
	f.create()
	var batches [][]shardlog.Op
	for i := range int64(700) {
		batches = append(batches, []shardlog.Op{insert(Student(i, "first", rowjson.Int(i))), insert(Student(i+10_000, "other", rowjson.Text("x")))})
	}
	f.apply(f.entries(batches)...)
	f.agree()
	batches = nil
	for i := range int64(1300) {
		switch {
		case i < 300:
			batches = append(batches, []shardlog.Op{remove(i)})
		case i < 1000:
			batches = append(batches, []shardlog.Op{update(Student(i, "second", rowjson.Int(-i))), remove(i + 10_000)})
		default:
			batches = append(batches, []shardlog.Op{with(insert(Student(i, "third", rowjson.Int(i))), fmt.Sprint("key", i%200), "b")})
		}
	}
	f.apply(f.entries(batches)...)
	f.agree()
}

func largestOp(f *fixture) {
	f.create()
	var wide, narrow []rowjson.Row
	for i := range int64(shardlog.MaxOpBytes / 60_000) {
		wide = append(wide, Student(i, strings.Repeat("é", 30_000), rowjson.Int(i)))
	}
	for i := range int64(5_000) {
		narrow = append(narrow, Student(1000+i, "n", rowjson.Int(i)))
	}
	var entries []shardlog.Entry
	entries = append(entries, f.entries([][]shardlog.Op{{insert(wide...)}, {insert(narrow...)}, {insert(narrow...)}, {insert(wide...)}})...)
	got := f.apply(entries...)
	if got[2].Op(0).Count != 5_000 || got[3].Op(0).Count != len(wide) {
		f.Errorf("got %+v", got)
	}
	f.agree()
}

// Whatever becomes of a call that its caller gave up, the position has it, and
// the next call succeeds: nothing is left locked.
func cancelledApplyIsAllOrNone(f *fixture) {
	f.create()
	for i := range int64(100) {
		ctx, cancel := context.WithTimeout(f.Context(), time.Duration(i*30)*time.Microsecond)
		entry := f.batch(insert(Student(i, strings.Repeat("x", 1000), rowjson.Int(i))), remove(i-1))
		_, err := f.store.Apply(ctx, f.model.position, []shardlog.Entry{entry})
		cancel()
		p, failed := f.store.Position(f.Context())
		f.must(failed)
		switch {
		case p.Seq == entry.Seq:
			f.model.apply(entry)
		case p != f.model.position || err == nil:
			f.Fatalf("at %v after %v, want %v", p, err, f.model.position)
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("given up with %v", err)
		}
		if p.Seq != entry.Seq {
			f.resend(entry)
			f.model.apply(entry)
		}
		f.apply(f.batch(insert(Student(1000+i, "x", rowjson.Int(i)))))
		f.agree()
	}
}

// resend applies an entry whose call was given up, as an applier would. Its
// commit may come in behind the look at the position: then this Apply waits for
// it and is fenced.
func (f *fixture) resend(entry shardlog.Entry) {
	f.Helper()
	_, err := f.store.Apply(f.Context(), f.model.position, []shardlog.Entry{entry})
	if !errors.Is(err, storage.ErrFenced) {
		f.must(err)
		return
	}
	p, failed := f.store.Position(f.Context())
	f.must(failed)
	if p.Seq != entry.Seq {
		f.Fatalf("fenced, but at %v", p)
	}
}
