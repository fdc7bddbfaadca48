package apply

import (
	"testing"
	"testing/synctest"
	"time"

	"ringway/internal/notify"
)

func TestApplier_WaitsLongerWhenMuchComes(t *testing.T) {
	f := func(last int64, flushed bool, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			a := &Applier{cfg: DefaultConfig(), flush: notify.NewSignal()}
			if flushed {
				a.flush.Notify()
			}
			began := time.Now()
			a.last.Store(last)
			a.batchReader().Wait(t.Context())
			if got := time.Since(began); got != want {
				t.Errorf("after %d ops, flushed %v: waited %s, want %s", last, flushed, got, want)
			}
		})
	}
	f(0, false, 50*time.Millisecond)
	f(25, false, 50*time.Millisecond)
	f(60, false, 120*time.Millisecond)
	f(100_000, false, 200*time.Millisecond)
	f(100_000, true, 0)
}
