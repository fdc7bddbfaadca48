package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringway/events"
	"ringway/internal/testkit"
)

// tableRoute is the route of a table of one shard without a replica.
func tableRoute(shard string) []byte {
	value, err := json.Marshal(events.TableRoute{
		Table: events.Table{
			Name: "StudT", Schema: events.Schema{Columns: []string{"Stud_id"}, DTypes: []string{events.DTypeNumber}},
			Shards: []events.Shard{{ID: shard, Low: 0, Size: 10}},
		},
		Shards: []events.ShardRoute{{Shard: shard, Log: events.ShardLog{Shard: shard, Incarnation: "life1", Made: true}}},
	})
	if err != nil {
		panic(err)
	}
	return value
}

func (w *world) putTable(shard string) events.Epoch {
	epoch := events.Epoch{Incarnation: "one", Revision: w.rev.Add(1)}
	w.bucket.put(events.Entry{Key: events.TableKey("StudT"), Value: tableRoute(shard), Version: epoch})
	return epoch
}

func (w *world) servesTable(epoch events.Epoch) {
	w.t.Helper()
	w.eventually(func() error {
		if got := w.bus.last().Tables["StudT"]; got != epoch {
			return fmt.Errorf("the heartbeat names %s, want %s", got, epoch)
		}
		return nil
	})
}

func TestTables_AreWatchedBesideServices(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	if len(w.bus.last().Tables) > 0 {
		t.Error("a heartbeat names tables that are not there")
	}
	w.servesTable(w.putTable("sh1"))
	if got := w.do("GET", "/status", ""); got.code != 200 || !strings.Contains(got.body, "sh1") {
		t.Errorf("/status: got %d %s", got.code, got.body)
	}
	if got := w.do("GET", "/home", ""); got.body != "S1" {
		t.Errorf("/home: got %d %s", got.code, got.body)
	}
}

// A watch can fall silent after a bus restart without closing.
func TestTables_AreReadAgainWhenTheLeaderIsAhead(t *testing.T) {
	w := start(t, nil)
	w.servesTable(w.putTable("sh1"))
	w.bucket.mu.Lock()
	w.bucket.silent = true
	w.bucket.mu.Unlock()
	epoch := w.putTable("sh2")
	w.eventually(func() error {
		w.bus.mu.Lock()
		defer w.bus.mu.Unlock()
		if w.bus.listen == nil {
			return errors.New("nobody listens")
		}
		return nil
	})
	heartbeat, err := json.Marshal(events.ControllerHeartbeat{Controller: "c1", Tables: map[string]events.Epoch{"StudT": epoch}})
	testkit.Must(t, err)
	w.eventually(func() error {
		w.bus.listen("", heartbeat)
		if got := w.r.database.Routes().Epochs()["StudT"]; got != epoch {
			return fmt.Errorf("%s is served", got)
		}
		return nil
	})
}

func TestTables_OutliveARestartWithoutABus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "router", "routes.json") // it makes the directory
	first := start(t, func(c *Config) { c.Cache = file })
	first.put(route(routeMember(1, replica(t, replyWith("S1")))))
	epoch := first.putTable("sh1")
	first.eventually(func() error {
		b, err := os.ReadFile(file)
		if err == nil && (!strings.Contains(string(b), "StudT") || !strings.Contains(string(b), `"web"`)) {
			err = errors.New("the cache lacks the table or the service")
		}
		return err
	})
	testkit.Must(t, first.stop())
	second := start(t, func(c *Config) { c.Cache = file })
	second.servesTable(epoch)
	if got := second.do("GET", "/status", ""); got.code != 200 || !strings.Contains(got.body, "sh1") {
		t.Errorf("/status: got %d %s", got.code, got.body)
	}
	if got := second.do("GET", "/home", ""); got.body != "S1" {
		t.Errorf("/home: got %d %s", got.code, got.body)
	}
}

func TestTables_ABadCacheIsNotServed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	testkit.Must(t, os.WriteFile(file, []byte(`[{"table":"Other","epoch":{"incarnation":"one","revision":1},"route":`+string(tableRoute("sh1"))+`}]`), 0o600))
	w := start(t, func(c *Config) { c.Cache = file })
	if got := w.do("GET", "/status", ""); got.code != 503 || !strings.Contains(w.log.String(), "cached route is ignored") {
		t.Errorf("/status: got %d %s", got.code, got.body)
	}
}

// Users' services have paths like /status too.
func TestTables_LeaveAServiceItsPaths(t *testing.T) {
	w := start(t, nil)
	one := route(routeMember(1, replica(t, replyWith("S1"))))
	f := func(path string, mine bool) {
		t.Helper()
		if got := w.do("GET", path, ""); (got.body == "S1") != mine {
			t.Errorf("%s: got %d %s; the service's: %v", path, got.code, got.body, mine)
		}
	}
	one.Paths = []string{"/home", "/status"}
	w.put(one)
	f("/status", true)
	f("/read/Server0", false)
	one.Paths = nil
	w.put(one)
	f("/status", true)
	f("/read/Server0", true)
	f("/init", false)
	w.servesTable(w.putTable("sh1"))
	f("/status", false)
	f("/read/Server0", false)
}
