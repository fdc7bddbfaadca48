package agent

import (
	"context"
	"errors"
	"time"

	"ringway/events"
)

// Runtime runs the instances of one host. Instances outlive it: the next
// Runtime on the same host adopts what it finds. All methods may be called at
// once from many goroutines, end with their context, and need Run to be running.
// The tests of package runtimetest specify every implementation.
type Runtime interface {
	// Run watches the instances until ctx ends and leaves them running. It
	// calls died at once when one ends by itself or by Stop; died does not block.
	Run(ctx context.Context, died func(Instance)) error

	// Start returns when the instance runs, which is before it serves. After an
	// error nothing runs. A name that is recorded, running or dead, is refused
	// with ErrExists: two lives of an instance never share a name. The volume
	// that spec names is made if it is not there; it may still be another
	// instance's that is about to end, and whoever uses it sees to that.
	Start(ctx context.Context, spec events.InstanceSpec, token events.Token) (Instance, error)

	// Stop asks the instance to end, makes it end after grace, and returns when
	// it has. It is no error if it has ended already or was never known.
	Stop(ctx context.Context, name string, grace time.Duration) error

	// List names every instance that was started and not forgotten, by this
	// Runtime or one before it.
	List(ctx context.Context) ([]Instance, error)

	// Forget drops the record of a dead instance, so that its name is free. It
	// refuses one that runs, and it is no error if the name is unknown. The
	// instance's volume stays: nothing here ever removes one.
	Forget(ctx context.Context, name string) error
}

// ErrExists: the name is recorded already.
var ErrExists = errors.New("an instance of this name exists")

// ErrRunning: the instance has not ended.
var ErrRunning = errors.New("the instance runs")

// Instance is one instance of this host, running or dead.
type Instance struct {
	Spec    events.InstanceSpec
	Token   events.Token // of the assignment it was started for
	Address string       // host:port that routers reach
	PID     int          // on this host; 0 if it ended while no runtime watched and nobody remembers
	Started time.Time
	Running bool
	Detail  string // how it ended
}

// same reports whether both are the same start of one name.
func (i Instance) same(j Instance) bool {
	return i.Spec.Name == j.Spec.Name && i.PID == j.PID && i.Started.Equal(j.Started)
}
