package apply_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard/apply"
	"ringway/shard/sqlite"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// asker asks a replica of this process.
type asker struct{ store storage.Store }

func (a asker) Results(ctx context.Context, _ events.LogID, batch string) (shardlog.Results, error) {
	return a.store.Results(ctx, batch)
}

// The path of a write: writers → log → three replicas, while the bus restarts and
// stores fail before and after their commits. What was acknowledged is on every
// replica once, what was refused on none, and all replicas are alike.
func TestWrite_AcknowledgedIsOnEveryReplicaOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := newSite(t)
	id := events.LogID{Table: spec.Table, Shard: spec.Shard.ID, Incarnation: "life1"}
	stores := []storage.Store{s.store}
	for range 2 {
		engine, err := sqlite.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = engine.Close() })
		store, err := engine.Create(t.Context(), spec, id.Incarnation)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, store)
	}
	var appliers []*apply.Applier
	for i, store := range stores {
		cfg := apply.DefaultConfig()
		cfg.Responder, cfg.RetryMin, cfg.RetryMax = i == 0, time.Millisecond, 10*time.Millisecond
		a, _ := run(t, cfg, &shaky{store, rand.New(rand.NewPCG(seed, uint64(i)))}, s)
		appliers = append(appliers, a)
	}
	w := oplog.New(oplog.DefaultConfig(), s.conn, s.conn, asker{s.store}, testkit.Quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })

	barrier := func() error {
		call, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		_, err := w.Do(call, id, &shardlog.Op{Kind: shardlog.OpBarrier})
		return err
	}
	testkit.Eventually(t, barrier) // the writer runs

	const writers, each = 8, 60
	answers := make(chan struct{}, writers*each)
	var mu sync.Mutex
	outcome := map[int64]string{}
	var done sync.WaitGroup
	for n := range writers {
		done.Go(func() {
			for i := range each {
				key := int64(n*each + i)
				op := &shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text("v")}}}
				call, stop := context.WithTimeout(t.Context(), 60*time.Second)
				r, err := w.Do(call, id, op)
				stop()
				got := fmt.Sprintf("refused: %v %v", r.Outcome, err)
				switch {
				case err == nil && r.Outcome == shardlog.Done:
					got = "done"
				case err == nil || errors.Is(err, events.ErrUnknownOutcome):
					got = fmt.Sprintf("unknown: %v %v", r.Outcome, err)
				}
				mu.Lock()
				outcome[key] = got
				mu.Unlock()
				answers <- struct{}{}
			}
		})
	}
	for range 3 { // in the middle of it
		for range writers * each / 8 {
			<-answers
		}
		s.bus.Restart()
	}
	done.Wait()

	var end shardlog.LogState
	testkit.Eventually(t, func() (err error) { end, err = s.log.State(t.Context()); return err })
	var first string
	for i, a := range appliers {
		s.wait(a, end.Last)
		there := map[int64]int{}
		if _, err := stores[i].Range(t.Context(), 0, 1<<20, func(r rowjson.Row, _ uint64) error { there[r.Key()]++; return nil }); err != nil {
			t.Fatal(err)
		}
		for key, got := range outcome {
			if n := there[key]; got == "done" && n != 1 || strings.HasPrefix(got, "refused") && n != 0 || n > 1 {
				t.Errorf("replica %d has row %d %d times, whose writer got %q", i, key, n, got)
			}
		}
		snap, err := stores[i].Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		digest, err := state.Digest(t.Context(), snap)
		_ = snap.Close()
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(digest); first == "" {
			first = text
		} else if text != first {
			t.Errorf("replica %d is %s, replica 0 %s", i, text, first)
		}
	}
	counts := map[string]int{}
	for _, got := range outcome {
		counts[got]++
	}
	t.Logf("of %d writes: %v", len(outcome), counts)
	if counts["done"] < writers*each/2 {
		t.Errorf("only %d of %d writes were acknowledged", counts["done"], writers*each)
	}
}
