// Package follow keeps whoever applies what a leader stores on the newest of it.
//
// A watch can fall silent after a restart of the bus without closing, and does
// not notice that its bucket has begun a new life. The leader's heartbeat names
// the versions of all routes and assignments, so whoever stays behind it
// watches anew, which reads everything again. Applying a value
// twice does no harm: what is not news is ignored (events.Entry.News).
package follow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"ringway/events"
)

// Watcher hands out all current values and then each change, never two at
// once, until ctx ends.
type Watcher interface {
	Watch(ctx context.Context, filter string, fn func(events.Entry)) error
}

// Listener receives what is published now.
type Listener interface {
	Listen(subject string, fn func(subject string, data []byte)) (stop func(), err error)
}

// Follower applies what a leader stores. All fields are needed.
type Follower struct {
	Values Watcher // of a bucket
	Bus    Listener
	Filter string                                         // of keys; empty: all
	Apply  func(events.Entry)                             // takes one value, never two at once
	Behind func(events.ControllerHeartbeat) (behind bool) // takes a leader's heartbeat; behind: it names what is not applied yet
	Log    *slog.Logger
}

// again is the time between two attempts.
const again = time.Second

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	late := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { f.listen(ctx, late) })
	for ctx.Err() == nil {
		err := f.watch(ctx, late)
		if err == nil || ctx.Err() != nil {
			continue
		}
		f.Log.Warn("what is to be obeyed cannot be watched, the last stays", events.KeyError, err)
		pause(ctx)
	}
}

var errLate = errors.New("behind the leader")

// watch watches until it is to be opened anew.
func (f *Follower) watch(ctx context.Context, late <-chan struct{}) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-ctx.Done():
		case <-late:
			stop(errLate)
		}
	}()
	err := f.Values.Watch(ctx, f.Filter, f.Apply)
	switch {
	case errors.Is(context.Cause(ctx), errLate):
		return nil
	case err == nil:
		return errors.New("the watch ended")
	}
	return err
}

// listen has the watch opened anew when this process has been behind the leader
// for longer than a heartbeat.
func (f *Follower) listen(ctx context.Context, late chan<- struct{}) {
	for ctx.Err() == nil {
		behind := lag{patience: events.HeartbeatInterval}
		stop, err := f.Bus.Listen(events.HeartbeatController, func(_ string, data []byte) {
			b, err := events.DecodeControllerHeartbeat(data)
			if err != nil {
				f.Log.Warn("heartbeat of the controller is unreadable", events.KeyError, err)
				return
			}
			if behind.tooLong(f.Behind(b), time.Now()) {
				f.Log.Warn("behind the controller, reading again", events.KeyToken, b.Term.String())
				select {
				case late <- struct{}{}:
				default: // it is to be already
				}
			}
		})
		if err == nil {
			<-ctx.Done()
			stop()
			return
		}
		f.Log.Warn("the controller cannot be listened to", events.KeyError, err)
		pause(ctx)
	}
}

// lag finds when a process has been behind for too long, once for each
// patience that passes.
type lag struct {
	patience time.Duration
	since    time.Time
}

func (l *lag) tooLong(behind bool, now time.Time) bool {
	switch {
	case !behind:
		l.since = time.Time{}
	case l.since.IsZero():
		l.since = now
	case now.Sub(l.since) > l.patience:
		l.since = now
		return true
	}
	return false
}

// IsNewer reports whether the leader names a version, by key, that is newer than
// or foreign to the one that applied returns; zero if nothing was applied.
func IsNewer(leader map[string]events.Version, applied func(name string) events.Version) bool {
	for name, v := range leader {
		if have := applied(name); !v.Zero() && (have.Zero() || v.After(have) || v.Foreign(have)) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(again):
	}
}
