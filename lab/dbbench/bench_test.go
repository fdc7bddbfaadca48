package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestSpread_PutsEveryCopyOnAnotherServer(t *testing.T) {
	for _, a := range analyses() {
		copies, least, most := map[string]int{}, 1000, 0
		for _, s := range a.d.servers {
			least, most = min(least, len(s.shards)), max(most, len(s.shards))
			for i, id := range s.shards {
				copies[id]++
				if slices.Contains(s.shards[:i], id) {
					t.Errorf("%s: %s has %s twice", a.name, s.name, id)
				}
			}
		}
		for id, n := range copies {
			if n != a.d.replicas {
				t.Errorf("%s: %d copies of %s, want %d", a.name, n, id, a.d.replicas)
			}
		}
		if len(copies) != a.d.shards || most-least > 1 {
			t.Errorf("%s: %d shards, %d to %d on a server", a.name, len(copies), least, most)
		}
		if !json.Valid([]byte(a.d.payload())) {
			t.Errorf("%s: %s", a.name, a.d.payload())
		}
	}
}

func TestBodies_AreTheCourses(t *testing.T) {
	if got := string(writeBody(nil, 107)); got != `{"data":[{"Stud_id":107,"Stud_name":"Student 2z","Stud_marks":6}]}` {
		t.Error(got)
	}
	if got := string(readBody(nil, 7)); got != `{"Stud_id":{"low":7,"high":7}}` {
		t.Error(got)
	}
}

func TestSpreadKeys_HandsOutEachKeyOnceToAllShardsInTurn(t *testing.T) {
	keys := &spreadKeys{d: database{shards: 3, size: 4}}
	var got []int64
	for key, ok := keys.take(); ok; key, ok = keys.take() {
		got = append(got, key)
	}
	if want := []int64{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDrive_CountsWhatWasDoneAndStopsAtAFailure(t *testing.T) {
	var done atomic.Int64
	work := func(int64) error { done.Add(1); return nil }
	l, err := drive(t.Context(), []worker{work, work, work}, each(make([]int, 100)), time.Hour)
	if err != nil || l.ops != 100 || done.Load() != 100 || len(l.took) != 100 || !slices.IsSorted(l.took) {
		t.Errorf("%d ops, %d done, %v", l.ops, done.Load(), err)
	}
	broken := errors.New("broken")
	endless := func() (int64, bool) { return 0, true }
	if _, err := drive(t.Context(), []worker{work, func(int64) error { return broken }}, endless, time.Hour); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := drive(ctx, []worker{work}, endless, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if l, err := drive(t.Context(), []worker{work}, endless, time.Millisecond); err != nil || l.ops == 0 {
		t.Errorf("%d ops, %v", l.ops, err)
	}
}

func TestRatios_AreTakenRoundByRound(t *testing.T) {
	if got := median(ratios([]float64{2, 30, 9}, []float64{1, 10, 9})); got != 2 {
		t.Errorf("got %v", got)
	}
}
