package shard

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ringway/events"
)

func TestNext(t *testing.T) {
	at := func(life string, seq uint64) *events.Position {
		return &events.Position{Incarnation: life, Seq: seq, Batch: fmt.Sprint("b", seq)}
	}
	log := func(first, last uint64) events.LogState { return events.LogState{First: first, Last: last} }
	donors := []donor{{"s2", "127.0.0.1:1"}}
	wrapped := func(err error) error { return fmt.Errorf("apply: %w", err) }
	for _, c := range []struct {
		name   string
		origin *events.Position
		donors []donor
		s      observation
		want   step
		state  string
	}{
		{"new, short log", nil, donors, observation{log: log(1, 999)}, create, events.ReplicaCatchingUp},
		{"new, long log", nil, donors, observation{log: log(1, 1000)}, fill, events.ReplicaCopying},
		{"new, long log, nobody ready", nil, nil, observation{log: log(1, 1000)}, create, events.ReplicaCatchingUp},
		{"new, empty log", nil, nil, observation{log: log(1, 0)}, create, events.ReplicaCatchingUp},
		{"new, large log", nil, donors, observation{log: events.LogState{First: 1, Last: 5, Bytes: 1000}}, fill, events.ReplicaCopying},
		{"new, purged log", nil, donors, observation{log: log(2, 5)}, fill, events.ReplicaCopying},
		{"new, purged log, nobody ready", nil, nil, observation{log: log(2, 5)}, rest, events.ReplicaWaiting},
		{"new, log continues another", at("old", 0), nil, observation{log: log(1, 0)}, rest, events.ReplicaWaiting},
		{"new, log continues another, donor", at("old", 7), donors, observation{log: log(8, 7)}, fill, events.ReplicaCopying},
		{"new, no log", nil, donors, observation{logErr: wrapped(events.ErrLogMissing)}, rest, events.ReplicaWaiting},
		{"new, foreign log", nil, donors, observation{logErr: wrapped(events.ErrLogForeign)}, rest, events.ReplicaWaiting},
		{"new, bus away", nil, donors, observation{logErr: errors.New("away")}, rest, events.ReplicaOpening},
		{"there", nil, donors, observation{at: at("life", 5)}, apply, events.ReplicaCatchingUp},
		{"there, nothing in it", nil, nil, observation{at: at("life", 0)}, apply, events.ReplicaCatchingUp},
		{"behind", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogPurged)}, replace, events.ReplicaCopying},
		{"behind, nobody ready", nil, nil, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogPurged)}, rest, events.ReplicaHalted},
		{"another history", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogForeign)}, replace, events.ReplicaQuarantined},
		{"another history, nobody ready", nil, nil, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogForeign)}, rest, events.ReplicaQuarantined},
		{"log is gone", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogMissing)}, rest, events.ReplicaHalted},
		{"cannot apply", nil, donors, observation{at: at("life", 5), applyErr: errors.New("no batch")}, rest, events.ReplicaHalted},
		{"recovered from here", at("old", 5), donors, observation{at: at("old", 5)}, rebase, events.ReplicaCatchingUp},
		{"recovered from further", at("old", 6), donors, observation{at: at("old", 5)}, replace, events.ReplicaQuarantined},
		{"recovered from further, nobody ready", at("old", 6), nil, observation{at: at("old", 5)}, rest, events.ReplicaQuarantined},
		{"recovered from another batch", &events.Position{Incarnation: "old", Seq: 5, Batch: "x"}, nil, observation{at: at("old", 5)}, rest, events.ReplicaQuarantined},
		{"another log, nothing lost", nil, nil, observation{at: at("old", 0)}, discard, events.ReplicaOpening},
		{"another log", nil, nil, observation{at: at("old", 1)}, rest, events.ReplicaQuarantined},
	} {
		a := &target{log: events.ShardLog{Incarnation: "life", Origin: c.origin}, donors: c.donors}
		c.s.maxReplaySeq, c.s.maxReplayBytes = 1000, 1000
		do, state, detail := next(a, &c.s)
		if do != c.want || state != c.state {
			t.Errorf("%s: %s, %s (%s); want %s, %s", c.name, do, state, detail, c.want, c.state)
		}
		if do == rest && strings.TrimSpace(detail) == "" {
			t.Errorf("%s: no reason is given", c.name)
		}
	}
}

func TestRecent_IsBoundedAndOldestFirst(t *testing.T) {
	var r recent
	for i := range 3 * recentKept / 2 {
		r.add(publishedResults{writer: fmt.Sprint(i)})
		r.add(publishedResults{writer: "large", results: events.Results{Notable: make([]events.Result, 100)}})
	}
	all := r.since(publishedResults{}.at)
	if len(all) != recentKept || all[0].writer != fmt.Sprint(recentKept/2) || all[len(all)-1].writer != fmt.Sprint(3*recentKept/2-1) {
		t.Errorf("%d, from %s to %s", len(all), all[0].writer, all[len(all)-1].writer)
	}
}

func TestReadAhead_SharesABudget(t *testing.T) {
	budget := &Budget{Bytes: 100}
	a, b := newReadAhead(1000, budget), newReadAhead(1000, budget)
	for _, w := range []*readAhead{a, b} { // one each always fits
		if err := w.put(t.Context(), events.LogEntry{}, 90, false); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() { done <- a.put(t.Context(), events.LogEntry{}, 10, false) }()
	b.take(1)
	a.take(1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a.drop()
	b.drop()
	if used := budget.used.Load(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}
