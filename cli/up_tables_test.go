package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/cli/console"
	"ringway/events"
)

func TestUp_WithATableWaitsForItsShards(t *testing.T) {
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	s := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaCatchingUp, "STAND_WHOLE=" + whole}, "--table", table)
	s.shows("  replicas 5/5  shards 1/2  router ")
	if err := os.WriteFile(whole, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.ready()
	s.shows("  shards 2/2  router up")
	if l := s.lives("start"); !slices.ContainsFunc(l, func(l life) bool { return l.role == "controller" && strings.Contains(l.args, "--table "+table) }) {
		t.Errorf("the controller was not told: %v", l)
	}

	slow := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaCopying}, "--table", table)
	slow.shows("  shards 1/2  router up")
	slow.signal(os.Interrupt)
	slow.exit(console.ExitInterrupted, "interrupted")
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
	f := func(maxConcurrent, later bool, states ...string) {
		t.Helper()
		w := &waiter{up: &up{app: &app{con: console.New(io.Discard)}, wish: "T"}, reported: map[string]bool{}}
		st := events.Status{Tables: []events.TableStatus{{Name: "T", Shards: []events.ShardStatus{replica(states...)}}}}
		for i, want := range []bool{maxConcurrent, later} {
			w.observeTables(st, began.Add(time.Duration(i)*waiveAfter))
			if got := w.shards.complete(); got != want {
				t.Errorf("%v: complete %v, want %v", states, got, want)
			}
		}
		w.observeTables(events.Status{}, began)
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

// What needs a person is said, with what that person can do, and is not counted
// as if it were there.
func TestUp_NamesTheShardsThatItGoesOnWithout(t *testing.T) {
	t.Parallel() // it waits for its timeout, which has to be long enough for a start
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaQuarantined}, "--table", table, "--start-timeout", "20s")
	s.ready()
	want := `  shards 1/2  router up
ringway: shard StudT.sh2 cannot be read, and writes to it are not confirmed: it is quarantined on Server0 (no luck today); see 'ringway shards', and 'ringway shards recover StudT.sh2'
ringway: 1 of 2 shards can be read and written
`
	s.wait(func() error {
		if !strings.HasSuffix(s.errs.String(), want) {
			return fmt.Errorf("want at the end of stderr %s", want)
		}
		return nil
	})
	s.signal(os.Interrupt)
	s.exit(console.ExitOK)
}

func TestUp_ReportsWhatAShardLacks(t *testing.T) {
	f := func(want shardProblem, replicas ...events.ReplicaReport) {
		t.Helper()
		want.shard = "T.s"
		if got := problemOf(events.ShardStatus{Table: "T", Shard: "s", Replicas: replicas}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	r := func(server, state, detail string) events.ReplicaReport {
		return events.ReplicaReport{Server: server, State: state, Detail: detail}
	}
	f(shardProblem{served: true}, r("A", events.ReplicaReady, ""))
	f(shardProblem{what: "is kept by nobody"})
	f(shardProblem{what: "is quarantined on A, B (of old)", lost: true, recoverable: true}, r("A", events.ReplicaQuarantined, "of old"), r("B", events.ReplicaQuarantined, "of older"))
	f(shardProblem{what: "is waiting on A, halted on B (disk)", lost: true, recoverable: true, retries: true}, r("A", events.ReplicaWaiting, ""), r("B", events.ReplicaHalted, "disk"))
	gone := events.ErrLogMissing.Error()
	f(shardProblem{what: "is halted on B (" + gone + ")", lost: true, recoverable: true}, r("B", events.ReplicaHalted, gone))
	f(shardProblem{what: "is waiting on A", lost: true}, r("A", events.ReplicaWaiting, "")) // of nothing there is nothing to continue
	f(shardProblem{what: "is halted on B", served: true, lost: true}, r("A", events.ReplicaReady, ""), r("B", events.ReplicaHalted, ""))
	f(shardProblem{what: "is quarantined on B", served: true}, r("A", events.ReplicaReady, ""), r("B", events.ReplicaQuarantined, ""))
	f(shardProblem{what: "is halted on A, pending on B"}, r("A", events.ReplicaHalted, ""), r("B", events.Pending, ""))
}

func TestUp_ReportsWhatItDoesNotApplyOfAFile(t *testing.T) {
	asked, err := ParseTable("table.yaml", []byte("{N: 3, shards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}], replicas: 2, engine: sqlite}"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, change func(*events.TableStatus)) {
		t.Helper()
		stored := events.TableStatus{Name: events.DefaultTable, Schema: courseSchema(), Engine: "sqlite", Servers: make([]events.Placement, 3), Shards: []events.ShardStatus{
			{Shard: "sh1", Low: 0, Size: 9, Replicas: make([]events.ReplicaReport, 2)}, {Shard: "sh2", Low: 9, Size: 9, Replicas: make([]events.ReplicaReport, 2)},
		}}
		change(&stored)
		var reports bytes.Buffer
		u := &up{app: &app{con: console.New(&reports)}, o: upFlags{table: "table.yaml"}, wish: stored.Name, asked: asked}
		u.reportIgnored(events.Status{Tables: []events.TableStatus{{Name: "Other"}, stored}})
		if want != "" {
			want = "ringway: table StudT is there already and stays as it is, table.yaml is not applied: " + want + "\n"
		}
		if reports.String() != want {
			t.Errorf("got %s, want %s", reports.String(), want)
		}
	}
	f("", func(*events.TableStatus) {})
	f("engine mysql, in the file sqlite", func(t *events.TableStatus) { t.Engine = "mysql" })
	f("shards 1, in the file 2", func(t *events.TableStatus) { t.Shards = t.Shards[:1] })
	f("shard sh3 is not in the file", func(t *events.TableStatus) { t.Shards[1].Shard = "sh3" })
	f("keys of shard sh2 9 to 18, in the file 9 to 17", func(t *events.TableStatus) { t.Shards[1].Size = 10 })
	f("servers 4, in the file 3", func(t *events.TableStatus) { t.Servers = make([]events.Placement, 4) })
	f("copies of shard sh1 1, in the file 2", func(t *events.TableStatus) { t.Shards[0].Replicas = t.Shards[0].Replicas[:1] })
	f("columns [a b], in the file [Stud_id Stud_name Stud_marks]", func(t *events.TableStatus) { t.Schema.Columns = []string{"a", "b"} })
	f("dtypes [Number], in the file [Number String String]", func(t *events.TableStatus) { t.Schema.DTypes = t.Schema.DTypes[:1] })
}

func TestUp_ExplainsWhyThereIsNoTable(t *testing.T) {
	c := &cluster{events: []events.Event{
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "T", Data: json.RawMessage(`{"reason":"a service has this name"}`)},
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "Other", Data: json.RawMessage(`{"reason":"of another"}`)},
	}}
	w := &waiter{up: &up{app: &app{con: console.New(io.Discard)}, wish: "T"}, cluster: c, leads: true, reported: map[string]bool{}}
	w.observeTables(events.Status{}, time.Now())
	w.findReason(t.Context())
	if want := `table T refused: reason="a service has this name"`; w.shards.trouble != want {
		t.Errorf("got %q, want %q", w.shards.trouble, want)
	}
}

func TestUp_PatienceIsLongerWithADatabase(t *testing.T) {
	f := func(want time.Duration, defaultTimeout bool, wish string, shards int) {
		t.Helper()
		w := &waiter{up: &up{o: upFlags{timeout: startTimeout}, defaultTimeout: defaultTimeout, wish: wish}, shards: shardCount{all: shards}}
		if got := w.timeout(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(startTimeout, true, "", 0)
	f(tableTimeout, true, "T", 0)
	f(tableTimeout, true, "", 1)
	f(startTimeout, false, "T", 1) // as the person said
}
