package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/shard/storage"
)

// Log is the incarnation of the suite's log.
const Log = "LOG1"

// noon is when the suite's log begins; every entry is a second later.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// Entry is what lies at seq in a log without an end: every kind of op, some
// batches twice, so that whatever is lost or done twice shows.
func Entry(spec events.ShardSpec, seq uint64) shardlog.Entry {
	n := int64(seq)
	id := fmt.Sprintf("b%d", seq)
	if seq%7 == 0 {
		id = fmt.Sprintf("b%d", seq-1)
	}
	row := Student(n%97, id, rowjson.Int(n))
	ops := []shardlog.Op{insert(Student(1000+n, id, rowjson.Text(id))), update(row), remove(1000 + n - 50)}
	switch {
	case seq%3 == 0:
		ops[2] = with(remove((n/2)%97), fmt.Sprintf("k%d", n%200), "b")
	case seq%5 == 0:
		ops[1] = insert(row)
	}
	return shardlog.Entry{Seq: seq, Time: noon.Add(time.Duration(seq) * 100 * time.Millisecond), Batch: shardlog.Batch{
		ID: id, Writer: "r1", Table: spec.Table, Shard: spec.Shard.ID, Ops: ops,
	}}
}

// ApplyLog applies the log of Entry as an applier does: from the position that
// the store has, again after every error that may pass, until ctx ends or
// applied, which it calls after every transaction, returns false. It returns the
// first error that is no fault of a crash.
//
// A transaction that was under way when ctx ended may be committed by the
// database server at any time afterwards, or never.
func ApplyLog(ctx context.Context, store storage.Store, applied func(seq uint64) (more bool)) error {
	var from events.Position
	known := false
	for ctx.Err() == nil {
		if !known {
			p, err := store.Position(ctx)
			switch {
			case err == nil:
				from, known = p, true
			case ctx.Err() == nil && !errors.Is(err, storage.ErrRetry):
				return err
			default:
				time.Sleep(5 * time.Millisecond) // before the next try
			}
			continue
		}
		var entries []shardlog.Entry
		for i := range from.Seq%9 + 1 {
			entries = append(entries, Entry(store.Spec(), from.Seq+i+1))
		}
		_, err := store.Apply(ctx, from, entries)
		switch {
		case err == nil:
			last := entries[len(entries)-1]
			from.Seq, from.Batch = last.Seq, last.Batch.ID
			if !applied(last.Seq) {
				return nil
			}
		case ctx.Err() == nil && !errors.Is(err, storage.ErrRetry) && !errors.Is(err, storage.ErrFenced):
			return err
		default:
			known = false
		}
	}
	return nil
}

// CheckLog demands that the replica is what the log of Entry leads to at its
// position, and returns that. Nothing may be applied meanwhile.
func CheckLog(t *testing.T, store storage.Store) uint64 {
	t.Helper()
	p, err := store.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := newModel(store.Spec(), Log)
	for seq := uint64(1); seq <= p.Seq; seq++ {
		m.apply(Entry(store.Spec(), seq))
	}
	agree(t, store, m)
	return p.Seq
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
