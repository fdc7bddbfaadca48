package apply_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus/logs"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/apply"
)

// watched is a log that tells when its reader waits for a fetch batch.
type watched struct {
	*logs.Log
	waits chan struct{}
}

type watchedFetch struct {
	shardlog.BatchReader
	waits chan struct{}
}

func (w *watched) Read(ctx context.Context, after events.Position, fetch shardlog.BatchReader, fn func(uint64, time.Time, []byte, bool) error) error {
	return w.Log.Read(ctx, after, watchedFetch{fetch, w.waits}, fn)
}

func (w watchedFetch) Wait(ctx context.Context) {
	w.waits <- struct{}{}
	w.BatchReader.Wait(ctx)
}

// fetching is an applier of a replica that is not the responder. It has seen one
// batch and waits for an hour.
func fetching(t *testing.T, s *site) *apply.Applier {
	t.Helper()
	cfg := apply.DefaultConfig()
	cfg.Responder, cfg.Delay = false, time.Hour
	log := &watched{s.log, make(chan struct{}, 100)}
	a := apply.New(cfg, s.store, log, s.conn, testkit.Quiet)
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
	<-log.waits
	if at := a.Applied().Seq; at != 0 {
		t.Fatalf("it has applied %d already", at)
	}
	return a
}

// reaches waits without ending the delay, and not until the reader of the log
// finds that nothing comes.
func reaches(t *testing.T, a *apply.Applier, seq uint64) {
	t.Helper()
	testkit.Within(t, 5*time.Second, func() error {
		if at := a.Applied().Seq; at != seq {
			return fmt.Errorf("at %d, want %d", at, seq)
		}
		return nil
	})
}

func TestApplier_AReadEndsTheDelay(t *testing.T) {
	s := newSite(t)
	a := fetching(t, s)
	for k := range int64(4) {
		s.append(k + 1)
	}
	s.wait(a, 5)
	s.append(5)
	s.wait(a, 6)
	s.wantRows(6)
}

func TestApplier_ANewResponderEndsTheDelay(t *testing.T) {
	s := newSite(t)
	a := fetching(t, s)
	s.append(1)
	a.SetResponder(true)
	reaches(t, a, 2)
	s.append(2)
	reaches(t, a, 3)
	s.wantRows(3)
}

// It reads on where it was, whichever way.
func TestApplier_ResponderNowAndThen(t *testing.T) {
	s := newSite(t)
	a, _ := run(t, apply.DefaultConfig(), s.store, s)
	for k := range int64(120) {
		if k%10 == 0 {
			a.SetResponder(k%20 == 0)
		}
		s.append(k)
	}
	s.wait(a, 120)
	s.wantRows(120)
}
