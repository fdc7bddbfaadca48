package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/router/database/background"
	"ringway/router/database/shardclient"
	"ringway/router/routes"
)

func TestTable_FindsTheShardOfAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := idle()
		route := events.TableRoute{Table: events.Table{Name: "T", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}}}
		low := rapid.Int64Range(-1000, 1000).Draw(t, "first")
		for i := range rapid.IntRange(1, 6).Draw(t, "shards") {
			low += rapid.Int64Range(0, 3).Draw(t, "gap")
			s := events.Shard{ID: fmt.Sprint("sh", i), Low: low, Size: rapid.Int64Range(1, 5).Draw(t, "size")}
			low += s.Size
			route.Table.Shards = append(route.Table.Shards, s)
			route.Shards = append(route.Shards, events.ShardRoute{Shard: s.ID, Log: events.ShardLog{Incarnation: "x"}})
		}
		one, err := c.build(route, events.Epoch{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		key := rapid.Int64Range(-1010, 1030).Draw(t, "key")
		want, ok := route.Table.Find(key)
		got := one.Find(key)
		if ok != (got != nil) || ok && got.ID != want.ID {
			t.Fatalf("key %d: got %v, want %v %v", key, got, want, ok)
		}
		high := key + rapid.Int64Range(0, 20).Draw(t, "wide")
		var ids, wants []string
		for _, s := range one.Between(key, high) {
			ids = append(ids, s.ID)
		}
		for _, s := range route.Table.Between(key, high) {
			wants = append(wants, s.ID)
		}
		if !slices.Equal(ids, wants) {
			t.Fatalf("%d to %d: got %v, want %v", key, high, ids, wants)
		}
	})
}

// idle is a catalog whose servers nobody asks.
func idle() *Catalog {
	return New(shardclient.DefaultConfig(), &background.Group{}, prometheus.NewRegistry(), testkit.Quiet)
}

func routeOf(incarnation string, ready ...bool) events.TableRoute {
	r := events.TableRoute{
		Table:  events.Table{Name: "StudT", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}, Shards: []events.Shard{{ID: "sh1", Size: 10}}},
		Shards: []events.ShardRoute{{Shard: "sh1", Log: events.ShardLog{Shard: "sh1", Incarnation: incarnation}}},
	}
	for i, ready := range ready {
		name := fmt.Sprint("Server", i)
		r.Servers = append(r.Servers, events.TableServer{Name: name, ID: i + 1, Address: fmt.Sprintf("127.0.0.1:%d", i+1)})
		r.Shards[0].Replicas = append(r.Shards[0].Replicas, events.ShardReplica{Server: name, Ready: ready})
	}
	return r
}

func put(t *testing.T, c *Catalog, incarnation string, revision uint64, r events.TableRoute) bool {
	t.Helper()
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return c.Apply(events.Entry{Key: events.TableKey("StudT"), Value: value, Version: events.Version{Incarnation: incarnation, Revision: revision}})
}

func TestApply(t *testing.T) {
	c := idle()
	f := func(incarnation string, revision uint64, r events.TableRoute, want bool, now string) {
		t.Helper()
		if got := put(t, c, incarnation, revision, r); got != want || c.Epochs()["StudT"].String() != now {
			t.Fatalf("%s/%d: got %v and serves %s, want %v and %s", incarnation, revision, got, c.Epochs()["StudT"], want, now)
		}
	}
	good := routeOf("life1", true)
	f("one", 5, good, true, "one/5")
	f("one", 4, good, false, "one/5")
	f("one", 5, good, false, "one/5")
	f("two", 1, good, true, "two/1") // the bus lives anew
	bad := routeOf("life1", true)
	bad.Shards[0].Responder = "Server9"
	f("two", 2, bad, false, "two/1")
	bad = good
	bad.Table.Name = "Other"
	f("two", 2, bad, false, "two/1")
	if c.Apply(events.Entry{Key: events.TableKey("StudT"), Version: events.Version{Incarnation: "three", Revision: 1}}) {
		t.Fatal("a wiped bus took the table away")
	}
	if c.Apply(events.Entry{Key: events.ServiceKey("StudT"), Value: []byte("{}"), Version: events.Version{Incarnation: "two", Revision: 9}}) {
		t.Fatal("the route of a service was taken for a table's")
	}
	if !c.Apply(events.Entry{Key: events.TableKey("StudT"), Version: events.Version{Incarnation: "two", Revision: 9}}) || len(c.Epochs()) > 0 {
		t.Fatal("a table that is gone is served")
	}
}

func TestBehind(t *testing.T) {
	c := idle()
	f := func(epoch events.Epoch, want bool) {
		t.Helper()
		if got := c.Behind(map[string]events.Epoch{"StudT": epoch}); got != want {
			t.Errorf("%s: got %v", epoch, got)
		}
	}
	f(events.Epoch{Incarnation: "one", Revision: 1}, true)
	f(events.Epoch{}, false)
	put(t, c, "one", 2, routeOf("life1", true))
	f(events.Epoch{Incarnation: "one", Revision: 1}, false)
	f(events.Epoch{Incarnation: "one", Revision: 2}, false)
	f(events.Epoch{Incarnation: "one", Revision: 3}, true)
	f(events.Epoch{Incarnation: "two", Revision: 1}, true)
}

// A call that names no table means StudT, or the only table there is. Nobody
// turns it elsewhere by making another one.
func TestNamed_WhichTableAnUnnamedCallMeans(t *testing.T) {
	c := idle()
	f := func(name, want string, code int) {
		t.Helper()
		got, err := c.Tables().Find(name)
		var statusErr *events.StatusError
		switch {
		case code == 200 && (err != nil || got.Name() != want):
			t.Errorf("%q: got %v, want table %s", name, err, want)
		case code != 200 && (!errors.As(err, &statusErr) || statusErr.Code != code || statusErr.Message != want):
			t.Errorf("%q: got %v, want %d %s", name, err, code, want)
		}
	}
	add := func(name string) {
		t.Helper()
		r := routeOf("life1")
		r.Table.Name = name
		value, err := json.Marshal(r)
		testkit.Must(t, err)
		testkit.Must(t, c.Remember(name, routes.Known{Route: value}))
	}
	f("", errNotHeard.Error(), 503)
	c.Heard()
	f("", "no database is configured; POST /init first", 400)
	f("Marks", "no database is configured; POST /init first", 400)
	add("Marks")
	f("", "Marks", 200)
	f("StudT", `table "StudT" does not exist; there is Marks`, 404)
	add("Grades")
	f("", "table is missing; name one of Grades, Marks", 400)
	f("Marks", "Marks", 200)
	f("StudT", `table "StudT" does not exist; there is Grades, Marks`, 404)
	add("StudT")
	f("", "StudT", 200)
	add("Absences")
	f("", "StudT", 200)
	f("Absences", "Absences", 200)
}

// What is known of a replica outlives changes of the route; a minimum seq outlives
// them for as long as the log does.
func TestSwap_KeepsMinSeqsAndReplicas(t *testing.T) {
	c := idle()
	put(t, c, "one", 1, routeOf("life1", true, true))
	before := c.Tables().unnamed.Shards[0]
	before.MinSeq.Raise(7)
	put(t, c, "one", 2, routeOf("life1", true, false, true))
	now := c.Tables().unnamed.Shards[0]
	if now.MinSeq != before.MinSeq || now.ready[0] != before.ready[0] || now.others[0] != before.ready[1] {
		t.Error("the same log began anew")
	}
	moved := routeOf("life1", true, true)
	moved.Servers[1].Address = "127.0.0.1:99"
	put(t, c, "one", 3, moved)
	if again := c.Tables().unnamed.Shards[0]; again.ready[0] != before.ready[0] || again.ready[1] == before.ready[1] {
		t.Error("a replica at another address is not another one")
	}
	put(t, c, "one", 4, routeOf("life2", true, true))
	if again := c.Tables().unnamed.Shards[0]; again.MinSeq.Seq() != 0 || again.ready[0] == before.ready[0] {
		t.Error("another log has the minSeq of the one before")
	}
	if n := len(c.clients); n != 2 {
		t.Errorf("%d servers are kept, want 2", n)
	}
}

func TestChoices(t *testing.T) {
	c := idle()
	put(t, c, "one", 1, routeOf("life1", true, true, true, false))
	s := c.Tables().unnamed.Shards[0]
	now := time.Now()
	first := map[string]int{}
	for range 3000 {
		choices := s.Choices(now)
		if len(choices) != 4 || choices[3].Server != "Server3" {
			t.Fatalf("%d choices, the last is %s", len(choices), choices[len(choices)-1].Server)
		}
		first[choices[0].Server]++
	}
	for _, name := range []string{"Server0", "Server1", "Server2"} {
		if n := first[name]; n < 850 || n > 1150 {
			t.Errorf("%s is the first choice %d times of 3000", name, n)
		}
	}
	s.ready[1].Failed(now)
	for range 100 {
		if choices := s.Choices(now); choices[2].Server != "Server1" {
			t.Fatal("the one that failed is not the last of those that are ready")
		}
	}
	back := now.Add(time.Second)
	if !slices.ContainsFunc(make([]int, 100), func(int) bool { return s.Choices(back)[0].Server == "Server1" }) {
		t.Error("it is never tried again")
	}
	s.ready[1].Failed(back)
	if s.ready[1].Failed(back); s.ready[1].avoid.Load() != back.Add(2*time.Second).UnixNano() {
		t.Error("the second failure in a row does not cost twice the first, and a third at the same time nothing")
	}
}

func TestResponderFirst(t *testing.T) {
	c := idle()
	r := routeOf("life1", true, true, false)
	r.Shards[0].Responder = "Server1"
	put(t, c, "one", 1, r)
	var names []string
	for _, r := range c.Tables().unnamed.Shards[0].ResponderFirst() {
		names = append(names, r.Server)
	}
	if got := strings.Join(names, " "); got != "Server1 Server0 Server2" {
		t.Errorf("got %s", got)
	}
}
