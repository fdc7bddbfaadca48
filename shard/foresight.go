package shard

import (
	"context"
	"slices"
	"time"

	"ringway/events"
	"ringway/shard/state"
)

// foresight is what a replica has told of its log without having applied it.
// What becomes of an op follows from the log and from which keys there are: a
// look at those is enough to answer its writer, and the transaction can wait
// for more to join it.
type foresight struct {
	store   Store
	base    events.Position // what is applied
	entries []events.LogEntry
	answers []events.Results
	bytes   int              // of entries, as the log has them
	keys    map[int64]bool   // is a row there, behind entries
	batches map[string]bool  // of entries
	due     <-chan time.Time // when they are to be applied
}

func newForesight(store Store, base events.Position) *foresight {
	return &foresight{store: store, base: base, keys: map[int64]bool{}, batches: map[string]bool{}}
}

// applied begins anew behind a transaction with all that was foreseen.
func (f *foresight) applied(base events.Position) {
	f.base, f.entries, f.answers, f.bytes, f.due = base, nil, nil, 0, nil
	clear(f.keys)
	clear(f.batches)
}

// end is the position behind what was foreseen.
func (f *foresight) end() events.Position {
	if len(f.entries) == 0 {
		return f.base
	}
	last := &f.entries[len(f.entries)-1]
	return events.Position{Incarnation: f.base.Incarnation, Seq: last.Seq, Batch: last.Batch.ID}
}

// see tells what becomes of entries, which follow; false if that has to be
// found out by applying them. Nothing is wrong then.
func (f *foresight) see(ctx context.Context, entries []events.LogEntry, bytes int) ([]events.Results, bool) {
	need := state.Need(entries)
	if len(need.Keys) > MaxKeys || len(need.Batches) < len(entries) || len(need.Idempotency) > 0 {
		return nil, false
	}
	for i := range entries {
		if f.batches[entries[i].Batch.ID] || isMarker(&entries[i].Batch) {
			return nil, false
		}
	}
	unknown := slices.DeleteFunc(need.Keys, func(key int64) bool { _, known := f.keys[key]; return known })
	there, repeated, err := f.store.Look(ctx, f.base, unknown, need.Batches)
	if err != nil || repeated { // who applies them meets it, and knows what to do
		return nil, false
	}
	for _, key := range unknown {
		f.keys[key] = false
	}
	for _, key := range there {
		f.keys[key] = true
	}
	spec := f.store.Spec()
	change, err := state.Settle(&spec, &state.Before{Position: f.end(), Keys: f.keys}, entries)
	if err != nil {
		return nil, false
	}
	for _, row := range change.Insert {
		f.keys[row.Key()] = true
	}
	for _, key := range change.Delete {
		f.keys[key] = false
	}
	for _, id := range need.Batches {
		f.batches[id] = true
	}
	f.entries, f.answers, f.bytes = append(f.entries, entries...), append(f.answers, change.Answers...), f.bytes+bytes
	return change.Answers, true
}

// agrees reports whether what was foreseen came true.
func (f *foresight) agrees(done []events.Results) bool {
	return len(done) >= len(f.answers) && slices.EqualFunc(f.answers, done[:len(f.answers)], func(a, b events.Results) bool {
		return a.Batch == b.Batch && a.Seq == b.Seq && a.Ops == b.Ops && slices.EqualFunc(a.Notable, b.Notable, func(a, b events.Result) bool {
			return a.Op == b.Op && a.Outcome == b.Outcome && a.Count == b.Count && slices.Equal(a.Keys, b.Keys)
		})
	})
}
