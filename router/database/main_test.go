package database_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The database/sql of an engine that was closed lets its opener go a moment later.
		goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"),
		// fasthttp's clock, one for the process, and its cleaner, which sleeps
		// out its last round after Stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// The table of the second assignment.
var (
	schema = events.Schema{
		Columns: []string{"Stud_id", "Stud_name", "Stud_marks"},
		DTypes:  []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
	}
	threeShards = []events.Shard{{ID: "sh1", Low: 0, Size: 4096}, {ID: "sh2", Low: 4096, Size: 4096}, {ID: "sh3", Low: 8192, Size: 4096}}
	threeOnTwo  = []events.Placement{
		{Name: "Server0", Shards: []string{"sh1", "sh2"}}, {Name: "Server1", Shards: []string{"sh2", "sh3"}}, {Name: "Server2", Shards: []string{"sh1", "sh3"}},
	}
)

const life = "life1"

// cluster is a real bus, a leader that does what the test says, and shard
// servers of this process.
type cluster struct {
	t      *testing.T
	bus    *testkit.Bus
	conn   *bus.Conn
	bucket *kv.Bucket

	mu       sync.Mutex
	route    events.TableRoute
	epoch    events.Epoch
	servers  map[string]*shardServer
	leader   map[string]func(req []byte) (any, error)
	requests []string // verbs
}

// newCluster has a bus and a leader, and no table.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, bus: testkit.StartBus(t), servers: map[string]*shardServer{}, leader: map[string]func([]byte) (any, error){}}
	c.conn = c.connect()
	var err error
	c.bucket, err = c.conn.Bucket(t.Context(), events.BucketRoutes)
	testkit.Must(t, err)
	verbs := map[string]bus.Handler{}
	for _, verb := range []string{events.APIInit, events.APIAddServers, events.APIRemoveServers, events.APIAdd, events.APIRemove} {
		verbs[verb] = func(_ context.Context, req []byte) (any, error) {
			c.mu.Lock()
			decide := c.leader[verb]
			c.requests = append(c.requests, verb)
			c.mu.Unlock()
			if decide == nil {
				return nil, fmt.Errorf("nobody expects %s %s", verb, req)
			}
			return decide(req)
		}
	}
	stop, err := c.conn.Serve(context.Background(), "0.1.0", nil, verbs)
	testkit.Must(t, err)
	t.Cleanup(stop)
	return c
}

func (c *cluster) connect() *bus.Conn {
	c.t.Helper()
	return testkit.Connect(c.t, c.bus.URL(), func(cfg *bus.Config) { cfg.Wait = true })
}

// configured is a cluster with the table of the assignment on three servers.
func configured(t *testing.T) *cluster { return withTable(t, threeShards, threeOnTwo) }

func withTable(t *testing.T, shards []events.Shard, placed []events.Placement) *cluster {
	t.Helper()
	c := newCluster(t)
	c.create(shards, placed)
	return c
}

// create does what the leader and the shard servers do for /init.
func (c *cluster) create(shards []events.Shard, placed []events.Placement) events.Epoch {
	c.t.Helper()
	r := events.TableRoute{Table: events.Table{Name: events.DefaultTable, Schema: schema, Shards: shards}}
	for _, s := range slices.SortedFunc(slices.Values(shards), func(a, b events.Shard) int { return cmp.Compare(a.Low, b.Low) }) {
		log := events.LogID{Table: events.DefaultTable, Shard: s.ID, Incarnation: life}
		_, err := c.conn.CreateLog(c.t.Context(), log, 0)
		testkit.Must(c.t, err)
		r.Shards = append(r.Shards, events.ShardRoute{Shard: s.ID, Log: events.ShardLog{Shard: s.ID, Incarnation: life, Made: true}})
	}
	for i, p := range placed {
		one := c.startServer(p.Name, shards, p.Shards)
		r.Servers = append(r.Servers, events.TableServer{Name: p.Name, ID: i + 1, Host: "h1", Address: one.address, Shards: p.Shards})
		for _, id := range p.Shards {
			at := slices.IndexFunc(r.Shards, func(s events.ShardRoute) bool { return s.Shard == id })
			r.Shards[at].Replicas = append(r.Shards[at].Replicas, events.ShardReplica{Server: p.Name, Ready: true})
			if r.Shards[at].Responder == "" {
				r.Shards[at].Responder = p.Name
				one.setResponder(id)
			}
		}
	}
	return c.put(func(now *events.TableRoute) { *now = r })
}

// put changes the route.
func (c *cluster) put(change func(*events.TableRoute)) events.Epoch {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.route)
	value, err := json.Marshal(c.route)
	testkit.Must(c.t, err)
	key := events.TableKey(c.route.Table.Name)
	if c.epoch.Zero() {
		c.epoch, err = c.bucket.Create(c.t.Context(), key, value)
	} else {
		c.epoch, err = c.bucket.Update(c.t.Context(), key, value, c.epoch)
	}
	testkit.Must(c.t, err)
	return c.epoch
}

func (c *cluster) now() (events.TableRoute, events.Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.route, c.epoch
}

func (c *cluster) decides(verb string, decide func(req []byte) (any, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader[verb] = decide
}

func (c *cluster) timesAsked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

func failure(message string) string {
	b, _ := json.Marshal(map[string]string{"message": "<Error> " + message, "status": "failure"})
	return string(b)
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("answer %.300q: %v", got, err)
		return
	}
	testkit.Must(t, json.Unmarshal([]byte(want), &w))
	if a, b := fmt.Sprint(g), fmt.Sprint(w); a != b {
		t.Errorf("got %.500s, want %.500s", got, want)
	}
}

// rows writes ids from low to high as a request or an answer has them.
func rows(low, high int) string {
	all := make([]string, 0, high-low+1)
	for id := low; id <= high; id++ {
		all = append(all, fmt.Sprintf(`{"Stud_id":%d,"Stud_name":"name %d","Stud_marks":%d}`, id, id, id%100))
	}
	return "[" + strings.Join(all, ",") + "]"
}

// fill writes ids from low to high.
func (f *front) fill(low, high int) {
	f.t.Helper()
	f.want("POST", "/write", `{"data":`+rows(low, high)+`}`, 200, fmt.Sprintf(`{"message":"%d Data entries added","status":"success"}`, high-low+1))
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	if address == "" {
		address = testkit.Address(t)
	}
	var l net.Listener
	testkit.Eventually(t, func() (err error) { l, err = net.Listen("tcp", address); return err })
	return l
}

// withoutOps drops the op ids of an answer, which are random.
func withoutOps(t *testing.T, body string) string {
	t.Helper()
	var all map[string]any
	testkit.Must(t, json.Unmarshal([]byte(body), &all))
	shards, _ := all["shards"].(map[string]any)
	for _, s := range shards {
		delete(s.(map[string]any), "op")
	}
	b, err := json.Marshal(all)
	testkit.Must(t, err)
	return string(b)
}
