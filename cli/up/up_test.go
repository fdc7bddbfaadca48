package up

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/cli/up/supervise"
	"ringway/events"
)

// history is a cluster that only has events.
type history struct {
	client.Cluster
	events []events.Event
}

func (h history) History(_ context.Context, _ time.Time, _ bool, fn func(events.Event) error) error {
	for _, e := range h.events {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
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
	// At the end of its time a start goes on without what others serve for.
	end := func(want bool, states ...string) {
		t.Helper()
		w := &waiter{up: &up{Client: &client.Client{Console: console.New(io.Discard)}, tableName: "T"}, reported: map[string]bool{}}
		shards := []events.ShardStatus{replica(states...), replica(events.ReplicaReady, events.ReplicaReady)}
		w.observeTables(events.Status{Tables: []events.TableStatus{{Name: "T", Shards: shards}}}, began)
		for _, now := range []time.Time{began, began.Add(minStuck)} {
			if got := w.shards.onlyStuck(now); got != (want && (now != began || slices.Contains(states, events.ReplicaReady))) {
				t.Errorf("%v after %s: goes on %v", states, now.Sub(began), got)
			}
		}
	}
	end(true, events.ReplicaReady, events.ReplicaReady, events.ReplicaOpening)
	end(true, events.ReplicaReady, events.Pending)
	end(true, events.ReplicaReady, events.ReplicaHalted)
	end(true, events.ReplicaHalted, events.ReplicaHalted)
	end(false, events.ReplicaOpening, events.ReplicaHalted)
	end(false, events.Pending, events.ReplicaCatchingUp)
	// complete at once, or once it has been so for long; or never.
	f := func(atOnce, later bool, states ...string) {
		t.Helper()
		w := &waiter{up: &up{Client: &client.Client{Console: console.New(io.Discard)}, tableName: "T"}, reported: map[string]bool{}}
		st := events.Status{Tables: []events.TableStatus{{Name: "T", Shards: []events.ShardStatus{replica(states...)}}}}
		for i, want := range []bool{atOnce, later} {
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

func TestUp_ReportsWhatItDoesNotApplyOfAFile(t *testing.T) {
	tableRequest, err := config.ParseTable("table.yaml", []byte("{N: 3, shards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}], replicas: 2, engine: sqlite}"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, change func(*events.TableStatus)) {
		t.Helper()
		stored := events.TableStatus{Name: events.DefaultTable, Schema: config.CourseSchema(), Engine: "sqlite", Servers: make([]events.Placement, 3), Shards: []events.ShardStatus{
			{Shard: "sh1", Low: 0, Size: 9, Replicas: make([]events.ReplicaReport, 2)}, {Shard: "sh2", Low: 9, Size: 9, Replicas: make([]events.ReplicaReport, 2)},
		}}
		change(&stored)
		var reports bytes.Buffer
		u := &up{Client: &client.Client{Console: console.New(&reports)}, o: upFlags{table: "table.yaml"}, tableName: stored.Name, tableRequest: tableRequest}
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
	c := history{events: []events.Event{
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "T", Data: json.RawMessage(`{"reason":"a service has this name"}`)},
		{Entity: events.EntityTable, Verb: events.VerbRefused, About: "Other", Data: json.RawMessage(`{"reason":"of another"}`)},
	}}
	w := &waiter{up: &up{Client: &client.Client{Console: console.New(io.Discard)}, tableName: "T"}, cluster: c, leads: true, reported: map[string]bool{}}
	w.observeTables(events.Status{}, time.Now())
	w.findReason(t.Context())
	if want := `table T refused: reason="a service has this name"`; w.shards.trouble != want {
		t.Errorf("got %q, want %q", w.shards.trouble, want)
	}
}

func TestUp_PatienceIsLongerWithADatabase(t *testing.T) {
	f := func(want time.Duration, defaultTimeout bool, tableName string, shards int) {
		t.Helper()
		w := &waiter{up: &up{o: upFlags{timeout: startTimeout}, defaultTimeout: defaultTimeout, tableName: tableName}, shards: shardCount{all: shards}}
		if got := w.timeout(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(startTimeout, true, "", 0)
	f(tableTimeout, true, "T", 0)
	f(tableTimeout, true, "", 1)
	f(startTimeout, false, "T", 1) // as the person said
}

// In a terminal ctrl-C reaches us directly and through the programs around us.
func TestPresses_OneKeyMayComeAsManySignals(t *testing.T) {
	var keys presses
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		after time.Duration
		again bool
	}{{0, false}, {time.Millisecond, false}, {keyInterval - 1, false}, {keyInterval, true}, {time.Minute, true}} {
		if got := keys.again(at.Add(c.after)); got != c.again {
			t.Errorf("a signal after %s: second key %v, want %v", c.after, got, c.again)
		}
	}
}

func TestUp_ReportsWhatHangs(t *testing.T) {
	u := &up{o: upFlags{hosts: 2, nats: "127.0.0.1:4222", timeout: time.Minute}, data: &supervise.Data{Dir: "/d"}}
	u.Client = &client.Client{Console: console.New(io.Discard)}
	f := func(want string, change func(*waiter)) {
		t.Helper()
		w := &waiter{up: u, cluster: history{}, leads: true, hosts: 2, services: 1, ready: 3, wanted: 3, reported: map[string]bool{}}
		change(w)
		if got := w.timeoutError().Error(); got != "start failed: "+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("the bus did not answer at 127.0.0.1:4222 within 1m0s", func(w *waiter) { w.cluster = nil })
	f("no controller answered within 1m0s", func(w *waiter) { w.leads = false })
	f("1 of 2 agents were heard within 1m0s", func(w *waiter) { w.hosts = 1 })
	f("2 of 3 replicas served within 1m0s\nThe logs of replicas are in /d/hosts/HOST/logs", func(w *waiter) { w.ready = 2 })
	f("0 of 0 replicas served within 1m0s\nThe logs of replicas are in /d/hosts/HOST/logs", func(w *waiter) { w.services, w.ready, w.wanted = 0, 0, 0 })
	f("2 of 3 replicas served within 1m0s\n  web-1 is dead: exit status 127: no such program\nThe logs of replicas are in /d/hosts/HOST/logs", func(w *waiter) {
		w.observe(events.Status{
			Hosts:    []events.HostStatus{{Name: "host-1", State: events.Alive}, {Name: "host-2", State: events.Alive}},
			Services: []events.ServiceStatus{{Name: "web", Wanted: 3, Serving: 3}},
			Instances: []events.InstanceReport{
				{Name: "web-1", State: events.Dead, Detail: "exit status 127: no such program"},
				{Name: "web-2", State: events.Ready, Serving: true}, {Name: "web-3", State: events.Ready, Serving: true},
				{Name: "web-4", State: events.Pending, Serving: true}, // routed to, but its host is not there
			},
		})
	})
	f("1 of 4 shards had all their replicas within 1m0s\n  T.s on S1 is copying\nThe logs of shard servers are in /d/hosts/HOST/logs", func(w *waiter) {
		w.shards = shardCount{ready: 1, all: 4, trouble: "T.s on S1 is copying"}
	})
	f("the router was not ready within 1m0s", func(*waiter) {})
}
