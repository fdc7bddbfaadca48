package leader

import (
	"context"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/events/streams"
)

// Bus is what a controller needs of the bus.
type Bus interface {
	// Publish sends without waiting and without any promise.
	Publish(subject string, v any) error
	// Listen calls fn in order, until stop.
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
	// Emit returns when the event is stored; an event that is there already is success.
	Emit(ctx context.Context, e events.Event) error
	// Emitted reports whether e is the newest event on its subject.
	Emitted(ctx context.Context, e events.Event) (bool, error)
	// AddCopies gives one stream of the bus more copies, if it lacks some and there
	// are servers for them; nil: none was changed.
	AddCopies(ctx context.Context) (*streams.Added, error)
	// Serve answers ringway.api requests, concurrently, until stop, which
	// returns when the last handler has.
	Serve(ctx context.Context, version string, info map[string]string, verbs map[string]func(context.Context, []byte) (any, error)) (stop func(), err error)
}

// Open opens a bucket of the control plane as it is now.
type Open func(ctx context.Context, name string) (Bucket, error)

// Bucket is a compare-and-set store. Writes fail with events.ErrConflict when
// another writer was first.
type Bucket interface {
	Entries(ctx context.Context) ([]events.Entry, error)
	// Watch calls fn for every value and every change of it until ctx ends.
	Watch(ctx context.Context, filter string, fn func(events.Entry)) error
	Get(ctx context.Context, key string) (events.Entry, error)
	// Former are the values of key that are still kept, newest first.
	Former(ctx context.Context, key string) ([]events.Entry, error)
	Create(ctx context.Context, key string, value []byte) (events.Version, error)
	Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error)
	Delete(ctx context.Context, key string, last events.Version) error
	// Repair rids the bucket of records that cannot be read, and reports whether there
	// were any. A key that loses its value gets its former one, or goes.
	Repair(ctx context.Context, former bool) (bool, error)
	// BeginAnew makes all versions of before foreign to the bucket, and keeps its values.
	BeginAnew(ctx context.Context, why events.Rollback) error
	// Rollback is why the bucket's present incarnation was begun so; nil if it was not.
	Rollback() *events.Rollback
}

// Logs creates and deletes the logs of shards.
type Logs interface {
	// CreateLog creates a log, or finds it there; events.ErrLogForeign if there is another incarnation of it.
	CreateLog(ctx context.Context, id events.LogID, first uint64) (shardlog.LogState, error)
	// LogState is of whatever incarnation of the shard's log is there; events.ErrLogMissing if none.
	LogState(ctx context.Context, table, shard string) (shardlog.LogState, error)
	// DeleteLog deletes this incarnation of a log; one that is not there is success.
	DeleteLog(ctx context.Context, id events.LogID) error
	// PurgeLog drops what lies before below.
	PurgeLog(ctx context.Context, id events.LogID, below uint64) error
}
