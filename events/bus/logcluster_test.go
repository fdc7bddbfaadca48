package bus_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

// A log on three servers loses its leader in the middle of being written and
// read. Resending by id until it is known brings each batch in once, in order.
func TestLog_GoesOnWithoutItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take some seconds")
	}
	cluster := testkit.StartBuses(t)
	replicated := func(cfg *bus.Config) { cfg.Replicas, cfg.Wait, cfg.Timeout = 3, true, 2*time.Second }
	c := testkit.Connect(t, testkit.URLs(cluster), replicated)
	testkit.Eventually(t, func() error { _, err := c.CreateLog(testkit.Context(t), theLog, 0); return err })
	l := c.Log(theLog)
	reader := testkit.Connect(t, testkit.URLs(cluster), replicated).Log(theLog)
	seen, ended := reading(t, reader, events.Position{})
	whole, lotsEnded := collect(t, reader, events.Position{}, wantBatches(), nil)

	s, err := rawJS(t, cluster[0].URL()).Stream(testkit.Context(t), "RINGWAY_LOG_StudT-sh1")
	if err != nil {
		t.Fatal(err)
	}
	if cfg := s.CachedInfo().Config; cfg.Replicas != 3 {
		t.Fatalf("%d replicas", cfg.Replicas)
	}
	leader := slices.IndexFunc(cluster, func(b *testkit.Bus) bool { return b.Config.Name == s.CachedInfo().Cluster.Leader })
	down := make(chan struct{})
	var want []string
	for i := range 60 {
		if i == 20 {
			go func() { defer close(down); cluster[leader].Shutdown() }()
		}
		id := fmt.Sprint("b", i)
		testkit.Eventually(t, func() error {
			seq, err := l.Append(testkit.Context(t), id, batchOf(id))
			if err == nil && seq != uint64(i+1) {
				t.Fatalf("batch %s is at %d", id, seq)
			}
			return err
		})
		want = append(want, fmt.Sprint(i+1, " ", id))
	}
	<-down
	sees(t, seen, want...)
	wantWhole(t, whole, 60)
	cluster[leader].Start()
	for i := range 20 { // what was known before the election still is
		if seq, err := l.Append(testkit.Context(t), fmt.Sprint("b", i), batchOf(fmt.Sprint("b", i))); err != nil || seq != uint64(i+1) {
			t.Fatalf("batch %d sent again: %d, %v", i, seq, err)
		}
	}
	wantState(t, l, 1, 60)
	select {
	case err := <-ended:
		t.Fatalf("the reader gave up: %v", err)
	case err := <-lotsEnded:
		t.Fatalf("the reader of batches gave up: %v", err)
	default:
	}
}

// A bus that is frozen answers nobody: the outcome is unknown, and known when
// it goes on.
func TestLogAppend_OverAFrozenBus(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL(), func(cfg *bus.Config) { cfg.Timeout = 300 * time.Millisecond })
	appendAll(t, createLog(t, testkit.Connect(t, srv.URL()), theLog), "b1")
	l := c.Log(theLog)
	testkit.Eventually(t, func() error { // a busy bus may take longer than c waits
		_, err := l.Append(testkit.Context(t), "b1", batchOf("b1"))
		return err
	})
	thaw := srv.Pause()
	_, err := l.Append(testkit.Context(t), "b2", batchOf("b2"))
	wantErr(t, err, events.ErrUnknownOutcome)
	thaw()
	testkit.Eventually(t, func() error {
		seq, err := l.Append(testkit.Context(t), "b2", batchOf("b2"))
		if err == nil && seq != 2 {
			return fmt.Errorf("batch b2 is at %d", seq)
		}
		if err != nil && errors.Is(err, events.ErrLogForeign) {
			t.Fatal(err)
		}
		return err
	})
	wantState(t, l, 1, 2)
}
