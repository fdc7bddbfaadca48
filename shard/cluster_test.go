package shard_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/shard"
	"ringway/shard/replica"
	"ringway/shard/sqlite"
	"ringway/shard/state"
	"ringway/shard/storage"
)

// TestMain is also the main of the servers that tests kill.
func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		serveChild(strings.Split(args, " "))
		return
	}
	// The database/sql of an engine that was closed lets its opener go a moment later.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"),
		// fasthttp's clock, one for the process, and its cleaner, which sleeps
		// out its last round after Stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

var spec = events.ShardSpec{
	Table:  "StudT",
	Schema: events.Schema{Columns: []string{"Stud_id", "Stud_name"}, DTypes: []string{events.DTypeNumber, events.DTypeString}},
	Shard:  events.Shard{ID: "sh1", Low: 0, Size: 1 << 20},
}

// cluster is a bus, a table of one shard, and shard servers that the test
// starts, stops and has on its routes.
type cluster struct {
	*testing.T
	bus     *testkit.Bus
	conn    *bus.Conn
	bucket  *kv.Bucket
	log     events.LogID
	route   events.TableRoute
	epoch   events.Version
	nodes   map[string]*node
	writer  *oplog.Writer
	digests chan shardlog.Digest
}

// node is one shard server; its data outlives it.
type node struct {
	c      *cluster
	name   string
	dir    string
	open   func(ctx context.Context) (storage.Engine, string, error)
	tune   func(*shard.Config)
	wrap   func(replica.Log) replica.Log // of its logs, if set
	addr   string
	front  string // where routes say it is
	stop   func()
	conn   *bus.Conn
	engine storage.Engine
	served atomic.Int64 // copies that it handed out
	giving atomic.Int64 // copies that it hands out now
	hold   atomic.Bool  // copies do not go on behind their beginning
	cut    atomic.Int64 // how many copies to it end early
}

// newFront stands before a server, so that a test sees and spoils its copies.
func (c *cluster) newFront(n *node) string {
	c.Helper()
	to := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", n.addr
	}, ErrorLog: log.New(io.Discard, "", 0)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/copy") {
			n.served.Add(1)
			n.giving.Add(1)
			defer n.giving.Add(-1)
			w = &holding{ResponseWriter: w, hold: &n.hold, ended: r.Context()}
			for _, other := range c.nodes {
				if other != n && other.cut.Add(-1) >= 0 {
					w = &cutting{ResponseWriter: w, left: 10_000}
				}
			}
		}
		to.ServeHTTP(w, r)
	}))
	c.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// holding goes on behind the first line when it may.
type holding struct {
	http.ResponseWriter
	hold  *atomic.Bool
	ended context.Context
	begun bool
}

func (w *holding) Write(b []byte) (int, error) {
	head := 0
	if i := bytes.IndexByte(b, '\n'); i >= 0 && !w.begun {
		w.begun, head = true, i+1
		if _, err := w.ResponseWriter.Write(b[:head]); err != nil {
			return 0, err
		}
		w.Flush()
	}
	for w.begun && w.hold.Load() {
		select {
		case <-w.ended.Done():
			return head, w.ended.Err()
		case <-time.After(time.Millisecond):
		}
	}
	n, err := w.ResponseWriter.Write(b[head:])
	return head + n, err
}

func (w *holding) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// cutting ends a connection after so many bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (w *cutting) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(b)
}

func (w *cutting) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{T: t, nodes: map[string]*node{}, log: events.LogID{Table: spec.Table, Shard: spec.Shard.ID, Incarnation: "life1"}, digests: make(chan shardlog.Digest, 100)}
	c.bus = testkit.StartBus(t)
	c.conn = c.connect()
	var err error
	c.must2(c.conn.CreateLog(t.Context(), c.log, 0))
	if c.bucket, err = c.conn.Bucket(t.Context(), events.BucketRoutes); err != nil {
		t.Fatal(err)
	}
	c.route.Table = events.Table{Name: spec.Table, Schema: spec.Schema, Shards: []events.Shard{spec.Shard}}
	c.route.Shards = []events.ShardRoute{{Shard: spec.Shard.ID, Log: events.ShardLog{Shard: spec.Shard.ID, Incarnation: c.log.Incarnation, Made: true}}}
	stop, err := c.conn.Listen(events.DigestSubject(spec.Table, spec.Shard.ID), func(_ string, data []byte) {
		if d, err := shardlog.DecodeDigest(data); err == nil {
			c.digests <- d
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c.writer = c.newWriter()
	for _, name := range names {
		c.add(name)
	}
	return c
}

func (c *cluster) must2(_ any, err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) connect() *bus.Conn {
	c.Helper()
	return testkit.Connect(c.T, c.bus.URL())
}

// nobody knows no results.
type nobody struct{}

func (nobody) Results(context.Context, events.LogID, string) (shardlog.Results, error) {
	return shardlog.Results{}, events.ErrNotFound
}

func (c *cluster) newWriter() *oplog.Writer {
	c.Helper()
	w := oplog.New(oplog.DefaultConfig(), c.conn, c.conn, nobody{}, testkit.Quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.Run(ctx) }()
	c.Cleanup(func() { cancel(); <-ended })
	return w
}

// add starts a server with SQLite that no route names yet.
func (c *cluster) add(name string) *node {
	c.Helper()
	n := &node{c: c, name: name, dir: c.TempDir()}
	n.open = func(context.Context) (storage.Engine, string, error) {
		e, err := sqlite.Open(n.dir)
		return e, sqlite.Version(), err
	}
	c.nodes[name] = n
	n.start()
	return n
}

func (n *node) start() {
	n.c.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.c.Fatal(err)
	}
	n.addr, n.conn = listener.Addr().String(), n.c.connect()
	if n.front == "" {
		n.front = n.c.newFront(n)
	}
	cfg := shard.DefaultConfig()
	cfg.ID, cfg.Listener, cfg.Volume = n.name, listener, "vol-"+n.name
	cfg.RetryMin, cfg.RetryMax, cfg.Durable = 50*time.Millisecond, 200*time.Millisecond, 50*time.Millisecond
	if n.tune != nil {
		n.tune(&cfg)
	}
	open := func(ctx context.Context) (storage.Engine, string, error) {
		e, name, err := n.open(ctx)
		if err == nil {
			n.engine = e
		}
		return e, name, err
	}
	logs := func(id events.LogID) replica.Log {
		if n.wrap != nil {
			return n.wrap(n.conn.Log(id))
		}
		return n.conn.Log(id)
	}
	bucket, err := n.conn.Bucket(n.c.Context(), events.BucketRoutes)
	if err != nil {
		n.c.Fatal(err)
	}
	s, err := shard.New(cfg, open, logs, bucket, n.conn, testkit.Quiet)
	if err != nil {
		n.c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.c.Errorf("server %s ended with %v", n.name, err)
		}
		n.conn.Close()
	})
	n.c.Cleanup(n.stop)
}

// restart has n begin again with another configuration.
func (n *node) restart(tune func(*shard.Config)) {
	n.c.Helper()
	n.stop()
	n.tune = tune
	n.start()
}

// keep puts the shard on servers, of which those with a "*" are ready, and the
// first of these the responder.
func (c *cluster) keep(names ...string) {
	c.Helper()
	sr := &c.route.Shards[0]
	c.route.Servers, sr.Replicas, sr.Responder = nil, nil, ""
	for i, name := range names {
		name, ready := strings.CutSuffix(name, "*")
		c.route.Servers = append(c.route.Servers, events.TableServer{Name: name, ID: i + 1, Address: c.nodes[name].front, Shards: []string{spec.Shard.ID}})
		sr.Replicas = append(sr.Replicas, events.ShardReplica{Server: name, Ready: ready})
		if ready && sr.Responder == "" {
			sr.Responder = name
		}
	}
	c.put()
}

func (c *cluster) put() {
	c.Helper()
	value, err := json.Marshal(c.route)
	if err != nil {
		c.Fatal(err)
	}
	key := events.TableKey(spec.Table)
	if c.epoch.Zero() {
		c.epoch, err = c.bucket.Create(c.Context(), key, value)
	} else {
		c.epoch, err = c.bucket.Update(c.Context(), key, value, c.epoch)
	}
	if err != nil {
		c.Fatal(err)
	}
}

func (n *node) url(thing string) string {
	return "http://" + n.addr + shardapi.Path(spec.Table, spec.Shard.ID, thing)
}

func call(t testing.TB, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

func (n *node) status() events.ShardHeartbeat {
	n.c.Helper()
	_, body := call(n.c, "GET", "http://"+n.addr+"/v1/status", "")
	b, err := events.DecodeShardHeartbeat([]byte(body))
	if err != nil {
		n.c.Fatal(err)
	}
	return b
}

// replica is what the server says of its replica.
func (n *node) replica() events.ReplicaStatus {
	n.c.Helper()
	b := n.status()
	r, _ := b.Replica(spec.Table, spec.Shard.ID)
	return r
}

// is waits for a state of the replica.
func (n *node) is(want string) events.ReplicaStatus {
	n.c.Helper()
	var got events.ReplicaStatus
	testkit.Eventually(n.c.T, func() error {
		got = n.replica()
		if got.State != want {
			return fmt.Errorf("%s is %+v, want %s", n.name, got, want)
		}
		return nil
	})
	return got
}

// insert writes rows through the log, one op each n rows, until it is answered.
func (c *cluster) insert(from, to int64) (seq uint64) {
	c.Helper()
	for key := from; key < to; key += 10 {
		var rows []rowjson.Row
		for k := key; k < min(to, key+10); k++ {
			rows = append(rows, rowjson.Row{rowjson.Int(k), rowjson.Text(rand.Text())})
		}
		seq = c.do(&shardlog.Op{Kind: shardlog.OpInsert, Rows: rows}).Seq
	}
	return seq
}

func (c *cluster) do(op *shardlog.Op) oplog.Result {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 60*time.Second)
	defer cancel()
	r, err := c.writer.Do(ctx, c.log, op)
	if err != nil || r.Outcome != shardlog.Done {
		c.Fatalf("%s: %+v, %v", op.Kind, r, err)
	}
	return r
}

// append puts a batch of one op into the log, in the name of writer w1.
func (c *cluster) append(id string, op shardlog.Op) {
	c.Helper()
	body, err := json.Marshal(shardlog.Batch{ID: id, Writer: "w1", Table: spec.Table, Shard: spec.Shard.ID, Ops: []shardlog.Op{op}})
	if err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	c.must2(c.conn.Append(ctx, c.log, id, body))
}

// state is what a replica holds when it has applied seq.
func (n *node) state(seq uint64) shardlog.StateDigest {
	n.c.Helper()
	testkit.Eventually(n.c.T, func() error {
		if got := n.replica(); got.Applied.Seq < seq {
			return fmt.Errorf("%s is %+v, want it at %d", n.name, got, seq)
		}
		return nil
	})
	store, err := n.engine.Open(n.c.Context(), spec.Table, spec.Shard.ID)
	if err != nil {
		n.c.Fatal(err)
	}
	snapshot, err := store.Snapshot(n.c.Context())
	if err != nil {
		n.c.Fatal(err)
	}
	defer snapshot.Close()
	d, err := state.Digest(n.c.Context(), snapshot)
	if err != nil {
		n.c.Fatal(err)
	}
	return d
}

// alike demands that all nodes hold the same at seq, and so many rows.
func (c *cluster) alike(seq uint64, rows int64, names ...string) {
	c.Helper()
	first := c.nodes[names[0]].state(seq)
	if first.Rows != rows {
		c.Errorf("%s has %d rows, want %d", names[0], first.Rows, rows)
	}
	for _, name := range names[1:] {
		if d := c.nodes[name].state(seq); d != first {
			c.Errorf("%s is %+v, %s %+v", name, d, names[0], first)
		}
	}
}
