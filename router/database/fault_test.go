package database_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/router"
)

func TestRead_LosesNothingWhenAReplicaIsKilled(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	f.fill(0, 99)
	var stop atomic.Bool
	var done atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		body, want := readOne, found(rows(1, 1))
		if i%2 == 1 {
			body, want = `{"Stud_id":{"low":0,"high":90}}`, found(rows(0, 90))
		}
		clients.Go(func() {
			for !stop.Load() {
				if got, err := f.try("POST", "/read", body); err != nil || got.code != 200 || got.body != want {
					t.Errorf("got %v %d %.300s", err, got.code, got.body)
					return
				}
				done.Add(1)
			}
		})
	}
	more := func() {
		before := done.Load()
		testkit.Eventually(t, func() error {
			if n := done.Load() - before; n < 100 && !t.Failed() {
				return fmt.Errorf("%d reads since", n)
			}
			return nil
		})
	}
	more()
	s := c.servers["Server0"]
	s.kill()
	more()
	s.listen(s.address)
	s.apply("sh1")
	s.apply("sh2")
	more()
	stop.Store(true)
	clients.Wait()
}

// A replica dies within its answer. As long as the client has nothing of it,
// another one answers.
func TestRead_BeginsAnewElsewhereWhenAnAnswerIsCutOff(t *testing.T) {
	c := oneShard(t)
	f := c.router(nil)
	f.fill(0, 99)
	for _, name := range []string{"Server0", "Server1"} {
		bad := c.servers[name]
		bad.cutAt.Store(50)
		before := bad.reads.Load()
		for bad.reads.Load() == before { // until one goes there first
			f.want("POST", "/read", `{"Stud_id":{"low":0,"high":99}}`, 200, found(rows(0, 99)))
			if got := f.do("POST", "/read", `{"Stud_id":{"low":40,"high":50}}`); got.code != 200 {
				t.Errorf("got %d %s", got.code, got.body)
			}
		}
		bad.cutAt.Store(0)
	}
}

// Nobody has the rest of an answer that was sent in part: it must not look whole.
func TestRead_BreaksTheConnectionOfAnAnswerThatCannotGoOn(t *testing.T) {
	c := oneShard(t)
	f := c.router(func(cfg *router.Config) {
		cfg.Database.Read.Hold, cfg.Database.Read.Prefetch, cfg.Database.Servers.Avoid = 1000, 1000, time.Nanosecond
	})
	f.fill(0, 199)
	c.servers["Server0"].cutAt.Store(150)
	for broken := 0; broken < 3 && !t.Failed(); { // the other one has all, but at another moment
		got, err := f.try("POST", "/read", `{"Stud_id":{"low":0,"high":199}}`)
		switch {
		case err == nil && got.body != found(rows(0, 199)):
			t.Errorf("a client read %d, %d bytes, as a whole answer", got.code, len(got.body))
		case err != nil && (!strings.Contains(got.body, `"Stud_id":100,`) || strings.Contains(got.body, `"status"`)):
			t.Errorf("%v: the client got %q", err, got.body)
		case err != nil:
			broken++
		}
	}
	// What fits the hold is a clean error.
	for _, s := range c.servers {
		s.cutAt.Store(5)
	}
	if got := f.do("POST", "/read", `{"Stud_id":{"low":0,"high":199}}`); got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", got.code, got.body)
	}
}

func TestRead_TriesTheOthersWhenAReplicaRefuses(t *testing.T) {
	c := oneShard(t)
	f := c.router(func(cfg *router.Config) { cfg.Database.Servers.Avoid = time.Nanosecond })
	f.fill(0, 99)
	bad := c.servers["Server1"]
	for _, code := range []int64{409, 503, 500, 404} {
		bad.refuse.Store(code)
		for _, body := range []string{readOne, readAll} {
			for range 10 {
				if got := f.do("POST", "/read", body); got.code != 200 {
					t.Errorf("%s, one replica says %d: got %d %s", body, code, got.code, got.body)
				}
			}
		}
	}
	c.servers["Server0"].refuse.Store(409)
	bad.refuse.Store(409)
	for _, body := range []string{readOne, readAll} {
		if got := f.do("POST", "/read", body); got.code != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s, nobody has this log: got %d %s", body, got.code, got.body)
		}
	}
	if got := f.do("GET", "/read/Server1", ""); got.code != 503 {
		t.Errorf("/read/Server1: got %d %s", got.code, got.body)
	}
}

func TestRead_WithoutAReplica(t *testing.T) {
	c := oneShard(t)
	f := c.router(nil)
	f.serves(c.put(func(r *events.TableRoute) {
		for i := range r.Servers {
			r.Servers[i].Address = ""
		}
		r.Shards[0].Responder = ""
	}))
	for _, body := range []string{readOne, readAll} {
		f.want("POST", "/read", body, 503, failure("shard sh1: no replica is ready"))
	}
	f.want("GET", "/primary_elect", `{"shard":"sh1"}`, 503, failure("no replica of shard sh1 is ready"))
	f.want("GET", "/read/Server0", "", 503, failure("server Server0 cannot be reached"))
}

// A server that hangs is given up when the route says that it is gone.
func TestRead_GivesUpAServerThatLeavesTheRoute(t *testing.T) {
	c := oneShard(t)
	f := c.router(func(cfg *router.Config) {
		cfg.Database.Servers.Try, cfg.Database.Read.Timeout, cfg.Database.Servers.Hedge = time.Hour, time.Hour, time.Hour
	})
	f.fill(1, 1)
	hung := c.servers["Server1"]
	hung.hold = make(chan struct{})
	defer close(hung.hold)
	answered := make(chan result, 20)
	before := hung.reads.Load()
	n := 0
	for hung.reads.Load() == before { // until one hangs
		n++
		go func() {
			got, _ := f.try("POST", "/read", readOne)
			answered <- got
		}()
		if n == cap(answered) {
			break
		}
		f.do("GET", "/status", "")
	}
	c.put(func(r *events.TableRoute) { r.Servers[1].Address, r.Shards[0].Replicas[1].Ready = "", false })
	for range n {
		if got := <-answered; got.code != 200 || got.body != found(rows(1, 1)) {
			t.Errorf("got %d %s", got.code, got.body)
		}
	}
}

func TestDatabase_ReadsGoOnWithoutABus(t *testing.T) {
	c := oneShard(t)
	file := filepath.Join(t.TempDir(), "routes.json")
	tune := func(cfg *router.Config) { cfg.Cache, cfg.Database.Read.Learn = file, 200*time.Millisecond }
	f := c.router(tune)
	f.fill(1, 1)
	c.bus.Shutdown()
	f.want("POST", "/read", readOne, 200, found(rows(1, 1)))
	f.want("POST", "/read", readAll, 200, found(rows(1, 1)))
	if got := f.do("POST", "/read", readOne, "Ringway-Consistency", "linearizable"); got.code != 503 {
		t.Errorf("linearizable: got %d %s", got.code, got.body)
	}
	got := f.do("POST", "/write", `{"data":`+rows(2, 2)+`}`)
	if got.code != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"sh1":{"outcome":"not written"`) {
		t.Errorf("write: got %d %s", got.code, got.body)
	}
	f.stop()

	f = c.newRouter(tune) // it has only the cache
	f.want("POST", "/read", readOne, 200, found(rows(1, 1)))
	f.want("POST", "/read", readAll, 200, found(rows(1, 1)))

	c.bus.Start()
	testkit.Eventually(t, func() error {
		if got := f.do("POST", "/write", `{"data":`+rows(2, 2)+`}`); got.code != 200 {
			return fmt.Errorf("write: got %d %s", got.code, got.body)
		}
		return nil
	})
	f.want("POST", "/read", readAll, 200, found(rows(1, 2)))
}

func TestWrite_UnknownCanBeAskedAbout(t *testing.T) {
	c := oneShard(t)
	f := c.router(func(cfg *router.Config) {
		cfg.Database.Write.Timeout, cfg.Database.Read.Timeout = 300*time.Millisecond, time.Second
		cfg.Database.Write.Ask = time.Second
	})
	for _, s := range c.servers {
		s.pause("sh1")
		s.wait = 10 * time.Millisecond
	}
	got := f.do("POST", "/write", `{"data":`+rows(1, 3)+`}`)
	var answer struct {
		Shards map[string]struct{ Outcome, Op string }
	}
	testkit.Must(t, json.Unmarshal([]byte(got.body), &answer))
	op := answer.Shards["sh1"].Op
	if got.code != 504 || answer.Shards["sh1"].Outcome != "unknown" || !strings.HasPrefix(op, "StudT.sh1.") {
		t.Fatalf("got %d %s", got.code, got.body)
	}
	if got := f.do("GET", "/v1/ops/"+op, ""); got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("nobody can know yet: got %d %s", got.code, got.body)
	}
	for _, s := range c.servers {
		s.apply("sh1")
		s.wait = testkit.Patience / 3
	}
	f.stop()
	f = c.router(func(cfg *router.Config) { cfg.Database.Write.UnknownFor = time.Nanosecond }) // another router can be asked as well
	var settled result
	testkit.Eventually(t, func() error {
		if settled = f.do("GET", "/v1/ops/"+op, ""); settled.code != 200 {
			return fmt.Errorf("got %d %s", settled.code, settled.body)
		}
		return nil
	})
	sameJSON(t, settled.body, fmt.Sprintf(`{"op":%q,"outcome":"done","seq":1,"status":"success"}`, op))
	f.want("POST", "/read", readAll, 200, found(rows(1, 3)))

	// Of a batch that is in no log the router can be sure, in time.
	const never = "StudT.sh1.NEVERSENT-1.0"
	f.want("GET", "/v1/ops/"+never, "", 503, failure("op "+never+" is not known yet: its router may still be sending it; ask again, for 1s at most"))
	f.want("GET", "/v1/ops/"+never, "", 404, failure("op "+never+" is not known: it was never applied, or more than 10m0s ago"))
	beyond := op[:len(op)-1] + "7" // the batch has one op
	f.want("GET", "/v1/ops/"+beyond, "", 404, failure("op "+beyond+" is not known: it was never applied, or more than 10m0s ago"))
	for _, s := range c.servers {
		s.kill()
	}
	if got := f.do("GET", "/v1/ops/"+op, ""); got.code != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("nobody can be asked: got %d %s", got.code, got.body)
	}
}

// A router gives up a client before it gives up the batch: what another router
// does not find in the log may come.
func TestWrite_AnotherRouterDoesNotDenyWhatMayStillCome(t *testing.T) {
	c := oneShard(t)
	f := c.router(nil)
	const batch, op = "ELSEWHERE-1", "StudT.sh1.ELSEWHERE-1.0"
	if got := f.do("GET", "/v1/ops/"+op, ""); got.code != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "not known yet") {
		t.Fatalf("nobody can know yet: got %d %s", got.code, got.body)
	}
	row := rowjson.Row{rowjson.Int(1), rowjson.Text("name 1"), rowjson.Int(1)}
	b, err := json.Marshal(shardlog.Batch{ID: batch, Writer: "elsewhere", Table: "StudT", Shard: "sh1", Ops: []shardlog.Op{{Kind: shardlog.OpInsert, Rows: []rowjson.Row{row}}}})
	testkit.Must(t, err)
	log := events.LogID{Table: "StudT", Shard: "sh1", Incarnation: life}
	seq, err := c.conn.Log(log).Append(t.Context(), batch, b) // now it comes
	testkit.Must(t, err)
	f.want("GET", "/v1/ops/"+op, "", 200, fmt.Sprintf(`{"op":%q,"outcome":"done","seq":%d,"status":"success"}`, op, seq))

	// What it made itself it knows to be sent no more.
	got := f.do("POST", "/write", `{"data":`+rows(1, 1)+`}`)
	mine := regexp.MustCompile(`"op":"([^"]*-)[^"]*"`).FindStringSubmatch(got.body)
	if mine == nil {
		t.Fatalf("no op in %s", got.body)
	}
	never := mine[1] + "zzz.0"
	f.want("GET", "/v1/ops/"+never, "", 404, failure("op "+never+" is not known: it was never applied, or more than 10m0s ago"))
}

// The responder's database hangs: it neither publishes results nor answers.
func TestWrite_AnotherReplicaTellsWhenTheResponderHangs(t *testing.T) {
	c := oneShard(t)
	hung := c.servers["Server0"]
	hung.hold = make(chan struct{})
	defer close(hung.hold)
	f := c.router(nil)
	f.serves(c.put(func(r *events.TableRoute) { r.Shards[0].Responder = "Server0" }))
	for _, s := range c.servers {
		s.pause("sh1")
		s.replicas["sh1"].responder = false // so that nobody publishes results
	}
	c.servers["Server1"].apply("sh1")
	f.want("POST", "/write", `{"data":`+rows(1, 1)+`}`, 200, `{"message":"1 Data entries added","status":"success"}`)
}

func TestWrite_ARefusedOneCanBeAskedAboutToo(t *testing.T) {
	f := oneShard(t).router(nil)
	f.fill(1, 1)
	got := f.do("POST", "/write", `{"data":`+rows(1, 2)+`}`)
	var answer struct {
		Shards map[string]struct{ Op string }
	}
	testkit.Must(t, json.Unmarshal([]byte(got.body), &answer))
	op := answer.Shards["sh1"].Op
	f.want("GET", "/v1/ops/"+op, "", 200, fmt.Sprintf(`{"op":%q,"outcome":"duplicate","keys":[1],"count":1,"seq":2,"status":"success"}`, op))
}

func TestWrite_IdempotencyKeyMakesARepetitionHarmless(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	const key = "Idempotency-Key"
	list := strings.TrimSuffix(rows(1, 2), "]") + "," + strings.TrimPrefix(rows(5000, 5001), "[")
	const done = `{"message":"4 Data entries added","status":"success"}`
	f.want("POST", "/write", `{"data":`+list+`}`, 200, done, key, "k1")
	f.want("POST", "/write", `{"data":`+list+`}`, 200, done, key, "k1")
	if got := f.do("POST", "/write", `{"data":`+list+`}`, key, "k2"); got.code != 409 {
		t.Errorf("another key: got %d %s", got.code, got.body)
	}
	got := f.do("POST", "/write", `{"data":`+rows(3, 3)+`}`, key, "k1")
	if got.code != 422 || !strings.Contains(got.body, "Idempotency-Key: it was used with another request") {
		t.Errorf("another body: got %d %s", got.code, got.body)
	}
	if got := f.do("POST", "/write", `{"data":`+rows(3, 3)+`}`, "A", "1", "B", "2", "C", "3", key, ""); got.code != 400 || !strings.Contains(got.body, "idempotency key: use 1 to") {
		t.Errorf("an empty key, which would protect nothing: got %d %s", got.code, got.body)
	}
	const remove, removed = `{"Stud_id":1}`, `{"message":"Data entry with Stud_id:1 removed from all replicas","status":"success"}`
	f.want("DELETE", "/del", remove, 200, removed, key, "k3")
	f.want("DELETE", "/del", remove, 200, removed, key, "k3")
	if got := f.do("DELETE", "/del", remove, key, "k4"); got.code != 404 {
		t.Errorf("another key: got %d %s", got.code, got.body)
	}
	// A duplicate stays one, although the row is gone meanwhile.
	for range 2 {
		if got := f.do("POST", "/write", `{"data":`+rows(2, 2)+`}`, key, "k5"); got.code != 409 {
			t.Errorf("got %d %s", got.code, got.body)
		}
		f.do("DELETE", "/del", `{"Stud_id":2}`)
	}
	f.want("POST", "/write", `{"data":`+rows(9, 9)+`}`, 400,
		failure("idempotency key: use 1 to 255 printable ASCII characters"), key, strings.Repeat("k", 256))
}

// HTTP/1.0 has no chunks: its answer is whole or it is none.
func TestRead_AnswersHTTP10Whole(t *testing.T) {
	f := oneShard(t).router(func(cfg *router.Config) { cfg.Database.Read.Hold, cfg.Database.Read.MaxOld = 1000, 30_000 })
	f.fill(0, 799)
	ask := func(high int) *http.Response {
		nc, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		testkit.Must(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		body := fmt.Sprintf(`{"Stud_id":{"low":0,"high":%d}}`, high)
		fmt.Fprintf(nc, "POST /read HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		testkit.Must(t, err)
		return resp
	}
	resp := ask(399)
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.ContentLength != int64(len(b)) || string(b) != found(rows(0, 399)) {
		t.Errorf("got %v, length %d, %.100s", err, resp.ContentLength, b)
	}
	if resp := ask(799); resp.StatusCode != 505 {
		t.Errorf("an answer that is too large: got %d", resp.StatusCode)
	}
}
