// Package storage says what a shard server asks of the engine that holds its
// replicas, each the state that its log has led to.
//
// The log is the truth: a Store gets again what it has lost, and never gets
// twice what it has. Engines are adapters (shard/mysql, shard/sqlite); package
// storetest has the tests that each must pass.
package storage

import (
	"context"
	"errors"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// Engine keeps the replicas of one shard server. All methods may be called at
// once from many goroutines, and return when their context ends.
type Engine interface {
	// Create makes an empty replica at seq 0 of the log of that incarnation. It
	// refuses with ErrExists what is there already, whatever its state.
	Create(ctx context.Context, spec events.ShardSpec, incarnation string) (Store, error)

	// Open finds a replica: events.ErrNotFound if there is none, ErrCopying if
	// it was never complete.
	Open(ctx context.Context, table, shard string) (Store, error)

	// Restore begins to fill a replica from a copy. Until Finish it is marked as
	// copying; one that was left so is begun anew. A complete one is refused with
	// ErrExists: nothing replaces a good copy but Drop and then Restore.
	Restore(ctx context.Context, head shardapi.CopyHead) (Restore, error)

	// List names all replicas.
	List(ctx context.Context) ([]Held, error)

	// Drop erases a replica. It is no error if there is none.
	Drop(ctx context.Context, table, shard string) error

	// Close ends all that the Engine and its Stores hold.
	Close() error
}

// Held is a replica that an Engine has.
type Held struct {
	Spec     events.ShardSpec
	Position events.Position
	Copying  bool // not complete: Position is where it will be
}

// Store is one replica. One applier calls Apply; the rest may be called at
// once from many goroutines. LongReads of them that take long, of one Engine,
// hold up nothing else.
type Store interface {
	Spec() events.ShardSpec

	// Position is how far the replica has come.
	Position(ctx context.Context) (events.Position, error)

	// Apply applies entries, which follow from without a gap, in one transaction
	// and returns what became of each. After an error either all or nothing is
	// applied; Position has which. The errors are ErrRetry (the same again may
	// succeed), ErrFenced (the replica is not at from) and others, which will not
	// go away by themselves. After any error read Position before going on: a
	// commit whose answer was lost may still come in behind it, and the next
	// Apply then waits for it and is fenced by it.
	Apply(ctx context.Context, from events.Position, entries []shardlog.Entry) ([]shardlog.Results, error)

	// Rebase moves the position to another log that continues the state at from.
	// ErrFenced if the replica is not there.
	Rebase(ctx context.Context, from, to events.Position) error

	// Many reads the rows of keys that are there, each once and by key, all at
	// one seq, which it returns. Keys may repeat; there are at most MaxKeys.
	Many(ctx context.Context, keys []int64, fn func(rowjson.Row) error) (uint64, error)

	// Range reads the rows from low to high, both included, by key, all at one
	// seq, which fn gets with each and Range returns. It holds one row at a
	// time; an error of fn ends it.
	Range(ctx context.Context, low, high int64, fn func(row rowjson.Row, seq uint64) error) (uint64, error)

	// Results is what became of a batch: events.ErrNotFound if it was never
	// applied here, or longer than shardlog.ResultsKept ago.
	Results(ctx context.Context, batch string) (shardlog.Results, error)

	// Snapshot holds the state of this moment for a copy or a digest, while
	// Apply goes on.
	Snapshot(ctx context.Context) (Snapshot, error)

	// DurableThrough returns a position that a power cut cannot take back. It
	// waits until the present one is such.
	DurableThrough(ctx context.Context) (events.Position, error)
}

// LongReads is how many Ranges and Snapshots of one Engine there may be at once
// that their callers hold up: beside them it has to answer short reads and Apply.
const LongReads = 14

// MaxKeys bounds what Many reads at once.
const MaxKeys = shardapi.MaxGetKeys

// Snapshot is all that a replica held at one position. Close it.
type Snapshot interface {
	Head() shardapi.CopyHead

	// Items hands out everything once: rows by key, then results by time and
	// batch, then idempotency keys in the order of their bytes. What is out of
	// date by the log's time is left out. It holds one item at a time.
	Items(ctx context.Context, fn func(shardapi.CopyItem) error) error

	Close() error
}

// Restore fills a replica. One goroutine uses it, and may give it up.
type Restore interface {
	// Add puts in the next items.
	Add(ctx context.Context, items []shardapi.CopyItem) error

	// Finish makes the replica complete. Before that nobody can open it, and what
	// is not finished stays marked as copying.
	Finish(ctx context.Context) error
}

// Errors of engines. Test them with errors.Is.
var (
	// ErrRetry: the engine could not, for now: a deadlock, a lost connection, a full disk.
	ErrRetry = errors.New("the store cannot do this now")
	// ErrFenced: the replica's position is not what the caller believed.
	ErrFenced = errors.New("another applier moved the replica")
	// ErrCopying: the replica is not complete.
	ErrCopying = errors.New("the replica is not copied to its end")
	// ErrExists: there is a replica of the shard already.
	ErrExists = errors.New("a replica of this shard exists")
)
