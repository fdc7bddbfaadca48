package database

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestTable_FindsTheShardOfAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := idle(t)
		route := events.TableRoute{Table: events.Table{Name: "T", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}}}
		low := rapid.Int64Range(-1000, 1000).Draw(t, "first")
		for i := range rapid.IntRange(1, 6).Draw(t, "shards") {
			low += rapid.Int64Range(0, 3).Draw(t, "gap")
			s := events.Shard{ID: fmt.Sprint("sh", i), Low: low, Size: rapid.Int64Range(1, 5).Draw(t, "size")}
			low += s.Size
			route.Table.Shards = append(route.Table.Shards, s)
			route.Shards = append(route.Shards, events.ShardRoute{Shard: s.ID, Log: events.ShardLog{Incarnation: "x"}})
		}
		one, err := d.build(route, events.Epoch{}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		key := rapid.Int64Range(-1010, 1030).Draw(t, "key")
		want, ok := route.Table.Find(key)
		got := one.find(key)
		if ok != (got != nil) || ok && got.ID != want.ID {
			t.Fatalf("key %d: got %v, want %v %v", key, got, want, ok)
		}
		high := key + rapid.Int64Range(0, 20).Draw(t, "wide")
		var ids, wants []string
		for _, s := range one.between(key, high) {
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

// fataler is what tests of rapid and of testing have in common.
type fataler interface{ Fatal(...any) }

// idle is a database that does not run.
func idle(t fataler) *Database {
	d, err := New(DefaultConfig(), nil, nil, nil, prometheus.NewRegistry(), testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	return d
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

func put(t *testing.T, d *Database, incarnation string, revision uint64, r events.TableRoute) bool {
	t.Helper()
	value, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return d.Apply(events.Entry{Key: events.TableKey("StudT"), Value: value, Version: events.Version{Incarnation: incarnation, Revision: revision}})
}

func TestApply(t *testing.T) {
	d := idle(t)
	f := func(incarnation string, revision uint64, r events.TableRoute, want bool, now string) {
		t.Helper()
		if got := put(t, d, incarnation, revision, r); got != want || d.Epochs()["StudT"].String() != now {
			t.Fatalf("%s/%d: got %v and serves %s, want %v and %s", incarnation, revision, got, d.Epochs()["StudT"], want, now)
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
	if d.Apply(events.Entry{Key: events.TableKey("StudT"), Version: events.Version{Incarnation: "three", Revision: 1}}) {
		t.Fatal("a wiped bus took the table away")
	}
	if d.Apply(events.Entry{Key: events.ServiceKey("StudT"), Value: []byte("{}"), Version: events.Version{Incarnation: "two", Revision: 9}}) {
		t.Fatal("the route of a service was taken for a table's")
	}
	if !d.Apply(events.Entry{Key: events.TableKey("StudT"), Version: events.Version{Incarnation: "two", Revision: 9}}) || d.Epochs() != nil {
		t.Fatal("a table that is gone is served")
	}
}

func TestBehind(t *testing.T) {
	d := idle(t)
	f := func(epoch events.Epoch, want bool) {
		t.Helper()
		if got := d.Behind(map[string]events.Epoch{"StudT": epoch}); got != want {
			t.Errorf("%s: got %v", epoch, got)
		}
	}
	f(events.Epoch{Incarnation: "one", Revision: 1}, true)
	f(events.Epoch{}, false)
	put(t, d, "one", 2, routeOf("life1", true))
	f(events.Epoch{Incarnation: "one", Revision: 1}, false)
	f(events.Epoch{Incarnation: "one", Revision: 2}, false)
	f(events.Epoch{Incarnation: "one", Revision: 3}, true)
	f(events.Epoch{Incarnation: "two", Revision: 1}, true)
}

// A call that names no table means StudT, or the only table there is. Nobody
// turns it elsewhere by making another one.
func TestNamed_WhichTableAnUnnamedCallMeans(t *testing.T) {
	d := idle(t)
	f := func(name, want string, code int) {
		t.Helper()
		got, err := d.tables.Load().named(name)
		var statusErr *events.StatusError
		switch {
		case code == 200 && (err != nil || got.name() != want):
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
		testkit.Must(t, d.Remember(name, Known{Route: value}))
	}
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
	d := idle(t)
	put(t, d, "one", 1, routeOf("life1", true, true))
	before := d.tables.Load().unnamed.shards[0]
	before.minSeq.raise(7)
	put(t, d, "one", 2, routeOf("life1", true, false, true))
	now := d.tables.Load().unnamed.shards[0]
	if now.minSeq != before.minSeq || now.ready[0] != before.ready[0] || now.others[0] != before.ready[1] {
		t.Error("the same log began anew")
	}
	moved := routeOf("life1", true, true)
	moved.Servers[1].Address = "127.0.0.1:99"
	put(t, d, "one", 3, moved)
	if again := d.tables.Load().unnamed.shards[0]; again.ready[0] != before.ready[0] || again.ready[1] == before.ready[1] {
		t.Error("a replica at another address is not another one")
	}
	put(t, d, "one", 4, routeOf("life2", true, true))
	if again := d.tables.Load().unnamed.shards[0]; again.minSeq.seq.Load() != 0 || again.ready[0] == before.ready[0] {
		t.Error("another log has the minSeq of the one before")
	}
	if n := len(d.peers); n != 2 {
		t.Errorf("%d servers are kept, want 2", n)
	}
}

func TestChoices(t *testing.T) {
	d := idle(t)
	put(t, d, "one", 1, routeOf("life1", true, true, true, false))
	s := d.tables.Load().unnamed.shards[0]
	now := time.Now()
	first := map[string]int{}
	for range 3000 {
		choices := s.choices(now)
		if len(choices) != 4 || choices[3].server != "Server3" {
			t.Fatalf("%d choices, the last is %s", len(choices), choices[len(choices)-1].server)
		}
		first[choices[0].server]++
	}
	for _, name := range []string{"Server0", "Server1", "Server2"} {
		if n := first[name]; n < 850 || n > 1150 {
			t.Errorf("%s is the first choice %d times of 3000", name, n)
		}
	}
	s.ready[1].failed(time.Second, now)
	for range 100 {
		if choices := s.choices(now); choices[2].server != "Server1" {
			t.Fatal("the one that failed is not the last of those that are ready")
		}
	}
	back := now.Add(time.Second)
	if !slices.ContainsFunc(make([]int, 100), func(int) bool { return s.choices(back)[0].server == "Server1" }) {
		t.Error("it is never tried again")
	}
	s.ready[1].failed(time.Second, back)
	if s.ready[1].failed(time.Second, back); s.ready[1].avoid.Load() != back.Add(2*time.Second).UnixNano() {
		t.Error("the second failure in a row does not cost twice the first, and a third at the same time nothing")
	}
}

func TestAnswering_AsksTheResponderFirst(t *testing.T) {
	d := idle(t)
	r := routeOf("life1", true, true, false)
	r.Shards[0].Responder = "Server1"
	put(t, d, "one", 1, r)
	var names []string
	for _, r := range d.tables.Load().unnamed.shards[0].answering() {
		names = append(names, r.server)
	}
	if got := strings.Join(names, " "); got != "Server1 Server0 Server2" {
		t.Errorf("got %s", got)
	}
}

func TestJudge_PutsWhatIsNotKnownFirst(t *testing.T) {
	d := idle(t)
	put(t, d, "one", 1, routeOf("life1"))
	table := d.tables.Load().unnamed
	f := func(want int, codes ...int) {
		t.Helper()
		outcomes := make([]outcome, len(codes))
		parts := make([]part, len(codes))
		for i, code := range codes {
			outcomes[i] = outcome{Outcome: "x", code: code}
			parts[i].shard = table.shards[0]
		}
		if got, _ := judge(table, parts, outcomes); got != want {
			t.Errorf("%v: got %d, want %d", codes, got, want)
		}
	}
	f(200, 200, 200)
	f(504, 200, 503, 504, 409)
	f(503, 413, 503, 409)
	f(413, 409, 413, 200)
	f(422, 409, 422)
	f(409, 404, 409)
	f(404, 200, 404)
	f(400, 400, 200)
}

func TestJudge_SaysThatNothingWasWrittenOnlyIfNothingWas(t *testing.T) {
	d := idle(t)
	put(t, d, "one", 1, routeOf("life1"))
	table := d.tables.Load().unnamed
	away := outcome{Outcome: notWritten, Detail: "the log of shard sh1 takes no writes now; nothing was written", code: 503}
	done := outcome{Outcome: string(events.Done), code: 200}
	lost := outcome{Outcome: unknown, Detail: "ask GET /v1/ops/x", code: 504}
	missing := outcome{Outcome: string(events.Missing), Keys: []int64{5}, code: 404}
	f := func(want string, outcomes ...outcome) {
		t.Helper()
		parts := make([]part, len(outcomes))
		for i := range parts {
			parts[i].shard = table.shards[0]
		}
		if _, got := judge(table, parts, outcomes); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const closed = "the log of shard sh1 takes no writes now"
	f(closed+"; nothing was written", away)
	f("1 of 2 shards written: "+closed, away, done)
	f("0 of 2 shards written: "+closed+"; "+closed+"; nothing was written", away, away)
	f("0 of 2 shards written: "+closed+"; id: 5 is not there; nothing was written", away, missing)
	f("0 of 2 shards written: shard sh1: the outcome is unknown; ask GET /v1/ops/x; "+closed, lost, away)
	f("0 of 2 shards written: id: 5 is not there; id: 5 is not there", missing, missing)
}

func TestKeyOf(t *testing.T) {
	schema := &events.Schema{Columns: []string{"id", "name"}, DTypes: []string{"Number", "String"}}
	f := func(line string, want int64, ok bool) {
		t.Helper()
		got, err := keyOf(schema, []byte(line))
		if (err == nil) != ok || got != want {
			t.Errorf("%s: got %d %v", line, got, err)
		}
	}
	f(`{"id":5,"name":"a"}`, 5, true)
	f(`{"id":-9223372036854775808,"name":"a"}`, math.MinInt64, true)
	f(`{"name":"\"id\":7","id":5}`, 5, true)
	f(`{ "id": 5, "name":"a"}`, 5, true)
	f(`{"id":5e0,"name":"a"}`, 5, true)
	f(`{"id":"5","name":"a"}`, 0, false)
	f(`{"id":5`, 0, false)
	f(``, 0, false)
	f(`{"id":`, 0, false)
}

func TestParseEnd(t *testing.T) {
	f := func(line string, n int, want uint64, ok bool) {
		t.Helper()
		if got, err := parseEnd([]byte(line), n); (err == nil) != ok || got != want {
			t.Errorf("%q after %d: got %d %v", line, n, got, err)
		}
	}
	f(string(events.AppendShardEnd(nil, 17, 3)), 3, 17, true)
	f("#17 3", 3, 17, true)
	f("#17 3\n", 2, 0, false)
	f("#17\n", 0, 0, false)
	f("#x 0\n", 0, 0, false)
	f("#", 0, 0, false)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"N":1,"schema":{"columns":["id"],"dtypes":["Number"]},"shards":[{"id_low":0,"Shard_id":"a","Shard_size":1}],"servers":{"S0":["a"],"S[1]":[]}}`,
		`{"n":1,"servers":{"S0":["a"]},"new_shards":[{"id_low":5,"Shard_id":"b","Shard_size":1}]}`, `{"n":1,"servers":["S0"]}`,
		`{"id":{"low":1,"high":2}}`, `{"id":"5"}`, `{`, `{"servers":{"a":{}}}`,
	} {
		f.Add([]byte(s))
	}
	table := events.Table{Name: "T", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}, Shards: []events.Shard{{ID: "a", Size: 5}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		if req, err := parseInit(body); err == nil && (!json.Valid(body) || req.Table.Validate() != nil) {
			t.Errorf("%q was read as %+v", body, req)
		}
		if Concerns(body) && !json.Valid(body) {
			t.Errorf("%q concerns the database", body)
		}
		o, err := parseObject(body)
		if err != nil {
			return
		}
		_, _ = parseAdd(&table, o)
		_, _ = parseRemove("T", o)
		if low, high, err := parseRange("id", o); err == nil && low > high {
			t.Errorf("%q: %d to %d", body, low, high)
		}
		_, _ = o.key("id")
	})
}
