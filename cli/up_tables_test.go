package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

func TestUp_WithATableWaitsForItsShards(t *testing.T) {
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, t.TempDir(), nil, "--table", table)
	s.ready()
	for _, want := range []string{"  replicas 5/5  shards 1/2  router ", "  shards 2/2  router up"} {
		if !strings.Contains(s.errs.String(), want) {
			t.Errorf("no progress %q in %s", want, s.errs)
		}
	}
	if l := s.lives("start"); !slices.ContainsFunc(l, func(l life) bool { return l.role == "controller" && strings.Contains(l.args, "--table "+table) }) {
		t.Errorf("the controller was not told: %v", l)
	}

	slow := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaCopying}, "--table", table)
	slow.wait(func() error {
		if !strings.Contains(slow.errs.String(), "  shards 1/2  router up") {
			return errors.New("not there yet")
		}
		return nil
	})
	slow.signal(os.Interrupt)
	slow.exit(ExitInterrupted, "interrupted")
	if slow.out.String() != "" {
		t.Errorf("it was called ready: %s", slow.out)
	}
}

func TestUp_CountsShards(t *testing.T) {
	replica := func(states ...string) (s events.ShardStatus) {
		s.Table, s.Shard = "T", "s"
		for i, state := range states {
			s.Replicas = append(s.Replicas, events.ReplicaReport{Server: fmt.Sprintf("S%d", i), State: state})
		}
		return s
	}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	// complete at once, or once it has been so for long; or never.
	f := func(atOnce, later bool, states ...string) {
		t.Helper()
		w := &waiter{up: &up{app: &app{con: newConsole(io.Discard)}, wish: "T"}, told: map[string]bool{}}
		st := events.Status{Tables: []events.TableStatus{{Name: "T", Shards: []events.ShardStatus{replica(states...)}}}}
		for i, want := range []bool{atOnce, later} {
			w.lookAtTables(st, began.Add(time.Duration(i)*stuckFor))
			if got := w.shards.complete(); got != want {
				t.Errorf("%v: complete %v, want %v", states, got, want)
			}
		}
		w.lookAtTables(events.Status{}, began)
		if w.shards.complete() {
			t.Error("a table that nobody knows is complete")
		}
	}
	f(true, true, events.ReplicaReady, events.ReplicaReady)
	f(false, false, events.ReplicaReady, events.ReplicaCatchingUp)
	f(false, false, events.ReplicaReady, events.Pending)
	f(false, false, events.ReplicaReady, events.ReplicaQuarantined) // it is rebuilt
	f(false, false, events.ReplicaOpening, events.ReplicaHalted)
	f(false, false)
	f(false, true, events.ReplicaReady, events.ReplicaHalted)
	f(false, true, events.ReplicaHalted, events.ReplicaWaiting, events.ReplicaQuarantined)
}

func TestUp_SaysWhyThereIsNoTable(t *testing.T) {
	c := &cluster{events: []events.Event{
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "T", Data: json.RawMessage(`{"reason":"a service has this name"}`)},
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "Other", Data: json.RawMessage(`{"reason":"of another"}`)},
	}}
	w := &waiter{up: &up{app: &app{con: newConsole(io.Discard)}, wish: "T"}, cluster: c, leads: true, told: map[string]bool{}}
	w.lookAtTables(events.Status{}, time.Now())
	w.askWhy(t.Context())
	if want := `table T refused: reason="a service has this name"`; w.shards.trouble != want {
		t.Errorf("got %q, want %q", w.shards.trouble, want)
	}
}

func TestUp_PatienceIsLongerWithADatabase(t *testing.T) {
	f := func(want time.Duration, patient bool, wish string, shards int) {
		t.Helper()
		w := &waiter{up: &up{o: upFlags{patience: startPatience}, patient: patient, wish: wish}, shards: shardCount{all: shards}}
		if got := w.patience(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(startPatience, true, "", 0)
	f(tablePatience, true, "T", 0)
	f(tablePatience, true, "", 1)
	f(startPatience, false, "T", 1) // as the person said
}
