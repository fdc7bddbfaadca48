package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"ringway/events"
)

// People are told to recover a shard only where its log is the cause.
func TestStatus_NamesTheCauseOfAHalt(t *testing.T) {
	s := status{log: slog.New(slog.DiscardHandler), changed: func() {}}
	f := func(want, state string, err error) {
		t.Helper()
		s.setFault(state, err.Error(), err)
		if got := s.current(); got.Cause != want || got.State != state || got.Detail != err.Error() {
			t.Errorf("%v: %+v, want cause %q", err, got, want)
		}
	}
	f(events.CauseLogMissing, events.ReplicaHalted, fmt.Errorf("read: %w", events.ErrLogMissing))
	f(events.CauseLogPurged, events.ReplicaHalted, fmt.Errorf("read: %w", events.ErrLogPurged))
	f("", events.ReplicaHalted, errors.New("disk full"))
	f("", events.ReplicaWaiting, events.ErrLogMissing)
}
