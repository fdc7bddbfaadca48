package load

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// upTo hands out n keys.
func upTo(n int) func() (int64, bool) {
	var next atomic.Int64
	return func() (int64, bool) { k := next.Add(1); return k, k <= int64(n) }
}

func TestGoroutines_CountWhatWasDoneAndStopAtAFailure(t *testing.T) {
	var done atomic.Int64
	work := func(int64) error { done.Add(1); return nil }
	l, err := goroutines{workers: []Worker{work, work, work}}.Drive(t.Context(), upTo(100), time.Hour)
	if err != nil || l.Ops != 100 || done.Load() != 100 || len(l.Took) != 100 || !slices.IsSorted(l.Took) {
		t.Errorf("%d ops, %d done, %v", l.Ops, done.Load(), err)
	}
	broken := errors.New("broken")
	endless := func() (int64, bool) { return 0, true }
	if _, err := (goroutines{workers: []Worker{work, func(int64) error { return broken }}}).Drive(t.Context(), endless, time.Hour); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (goroutines{workers: []Worker{work}}).Drive(ctx, endless, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		slow := func(int64) error { time.Sleep(time.Millisecond); return nil }
		if l, err := (goroutines{workers: []Worker{slow, slow}}).Drive(t.Context(), endless, 5*time.Millisecond); err != nil || l.Ops != 10 {
			t.Errorf("%d ops of a millisecond in five of two, %v", l.Ops, err)
		}
	})
}
