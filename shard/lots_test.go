package shard_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
	"ringway/shard"
)

// watched is a log that tells when its reader gathers a lot.
type watched struct {
	*bus.Log
	gathers chan struct{}
}

type watchedLots struct {
	events.BatchReader
	gathers chan struct{}
}

func (w *watched) Read(ctx context.Context, after events.Position, lots events.BatchReader, fn func(uint64, time.Time, []byte, bool) error) error {
	return w.Log.Read(ctx, after, watchedLots{lots, w.gathers}, fn)
}

func (w watchedLots) Wait(ctx context.Context) {
	w.gathers <- struct{}{}
	w.BatchReader.Wait(ctx)
}

// gathering is an applier of a replica that answers nobody. It has seen one
// batch and gathers for an hour.
func gathering(t *testing.T, s *site) *shard.Applier {
	t.Helper()
	cfg := shard.DefaultApplierConfig()
	cfg.Responder, cfg.Gather = false, time.Hour
	log := &watched{s.log, make(chan struct{}, 100)}
	a := shard.NewApplier(cfg, s.store, log, s.conn, testkit.Quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s.append(0)
	<-log.gathers
	if at := a.Applied().Seq; at != 0 {
		t.Fatalf("it has applied %d already", at)
	}
	return a
}

// reaches waits without hurrying anybody, and not until the reader of the log
// finds that nothing comes.
func reaches(t *testing.T, a *shard.Applier, seq uint64) {
	t.Helper()
	testkit.Within(t, 5*time.Second, func() error {
		if at := a.Applied().Seq; at != seq {
			return fmt.Errorf("at %d, want %d", at, seq)
		}
		return nil
	})
}

func TestApplier_AReadCutsTheGatheringShort(t *testing.T) {
	s := newSite(t)
	a := gathering(t, s)
	for k := range int64(4) {
		s.append(k + 1)
	}
	s.wait(a, 5)
	s.append(5)
	s.wait(a, 6)
	s.wantRows(6)
}

func TestApplier_WhoBecomesEagerGathersNoLonger(t *testing.T) {
	s := newSite(t)
	a := gathering(t, s)
	s.append(1)
	a.SetResponder(true)
	reaches(t, a, 2)
	s.append(2)
	reaches(t, a, 3)
	s.wantRows(3)
}

// It reads on where it was, whichever way.
func TestApplier_EagerNowAndThen(t *testing.T) {
	s := newSite(t)
	a, _ := apply(t, shard.DefaultApplierConfig(), s.store, s)
	for k := range int64(120) {
		if k%10 == 0 {
			a.SetResponder(k%20 == 0)
		}
		s.append(k)
	}
	s.wait(a, 120)
	s.wantRows(120)
}
