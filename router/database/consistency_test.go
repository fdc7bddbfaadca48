package database_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/router"
)

// oneShard is kept by Server0, the responder, and by Server1.
func oneShard(t *testing.T) *cluster {
	return withTable(t, threeShards[:1], []events.Placement{{Name: "Server0", Shards: []string{"sh1"}}, {Name: "Server1", Shards: []string{"sh1"}}})
}

// behind stops Server1 from applying, and from waiting for long.
func (c *cluster) behind() *shardServer {
	s := c.servers["Server1"]
	s.wait = 20 * time.Millisecond
	for id := range s.replicas {
		s.pause(id)
	}
	return s
}

// notAvoiding asks a replica that failed a moment ago as often as the others.
func notAvoiding(cfg *router.Config) { cfg.ID, cfg.Database.Servers.Avoid = "r2", time.Nanosecond }

const (
	readOne = `{"Stud_id":{"low":1,"high":1}}`
	readAll = `{"Stud_id":{"low":0,"high":4000}}`
)

func found(rows string) string {
	return `{"shards_queried":["sh1"],"data":` + rows + `,"status":"success"}`
}

// stale counts how many of n reads do not see want.
func (f *front) stale(n int, body, want string, header ...string) int {
	f.t.Helper()
	old := 0
	for range n {
		got := f.do("POST", "/read", body, header...)
		if got.code != 200 {
			f.t.Fatalf("read: got %d %s", got.code, got.body)
		}
		if got.body != want {
			old++
		}
	}
	return old
}

// eightShards are kept as the one of oneShard, so that eight first reads show
// what one would show by chance.
func eightShards(t *testing.T) *cluster {
	var shards []events.Shard
	var ids []string
	for i := range int64(8) {
		shards = append(shards, events.Shard{ID: fmt.Sprint("sh", i), Low: i * 100, Size: 100})
		ids = append(ids, shards[i].ID)
	}
	return withTable(t, shards, []events.Placement{{Name: "Server0", Shards: ids}, {Name: "Server1", Shards: ids}})
}

// firstOfEach reads the first row of each of eight shards, which all are there.
func (f *front) firstOfEach(high int) {
	f.t.Helper()
	for i := range 8 {
		body := fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, i*100, i*100+high)
		want := fmt.Sprintf(`{"shards_queried":["sh%d"],"data":%s,"status":"success"}`, i, rows(i*100, i*100))
		if n := f.stale(3, body, want); n > 0 {
			f.t.Errorf("%s: %d of 3 reads do not see the write", body, n)
		}
	}
}

func TestRead_SeesWhatItsRouterAcknowledged(t *testing.T) {
	for _, high := range []int{0, 99} { // by key, and as a range
		c := eightShards(t)
		f := c.router(notAvoiding)
		f.do("POST", "/read", `{"Stud_id":{"low":0,"high":800}}`) // the logs' ends are known, and 0
		c.behind()
		for i := range 8 {
			f.fill(i*100, i*100)
		}
		f.firstOfEach(high)
	}
}

func TestRead_MayBeStaleIfItIsEventual(t *testing.T) {
	c := oneShard(t)
	f := c.router(notAvoiding)
	c.behind()
	f.fill(1, 1)
	for _, body := range []string{readOne, readAll} {
		if n := f.stale(60, body, found(rows(1, 1)), "Ringway-Consistency", "eventual"); n == 0 || n == 60 {
			t.Errorf("%s: %d of 60 reads go to the replica that is behind", body, n)
		}
	}
}

// A router that is new has to show what others acknowledged before.
func TestRead_BeginsAtTheEndOfTheLog(t *testing.T) {
	c := eightShards(t)
	first := c.router(nil)
	c.behind()
	for i := range 8 {
		first.fill(i*100, i*100)
	}
	first.stop()
	c.router(notAvoiding).firstOfEach(0)
}

// cached is settings of a router that keeps its routes, and soon sees that
// there is no bus.
func cached(t *testing.T) func(*router.Config) {
	file := filepath.Join(t.TempDir(), "routes.json")
	return func(cfg *router.Config) {
		notAvoiding(cfg)
		cfg.Cache, cfg.Database.Read.Learn = file, 200*time.Millisecond
	}
}

// The replicas know what was acknowledged when nobody else does.
func TestRead_BeginsWithoutABusAtWhatWasAcknowledged(t *testing.T) {
	c := eightShards(t)
	tune := cached(t)
	first := c.router(tune)
	c.behind()
	for i := range 8 {
		first.fill(i*100, i*100)
	}
	first.stop()
	c.bus.Shutdown()
	second := c.newRouter(tune)
	second.firstOfEach(0)
	second.firstOfEach(99)
}

// A replica that does not answer what it has may be the only one that has it,
// whatever the route thinks of it by now.
func TestRead_WaitsWithoutABusForAllReplicas(t *testing.T) {
	f := func(name string, change func(*events.TableRoute)) {
		t.Run(name, func(t *testing.T) {
			c := oneShard(t)
			tune := cached(t)
			first := c.router(tune)
			c.behind()
			first.fill(1, 1)
			first.serves(c.put(change))
			first.stop()
			c.bus.Shutdown()
			one := c.servers["Server0"]
			one.refuse.Store(503)
			short := c.newRouter(func(cfg *router.Config) { tune(cfg); cfg.Database.Read.Timeout = 300 * time.Millisecond })
			for _, body := range []string{readOne, readAll} {
				testkit.Eventually(t, func() error { // that may be short on a busy machine
					got := short.do("POST", "/read", body)
					if got.code != 503 {
						t.Fatalf("%s: got %d %s", body, got.code, got.body)
					}
					if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "server Server0: ") || !strings.Contains(got.body, "Ringway-Consistency: eventual") {
						return fmt.Errorf("%s: got %d %s", body, got.code, got.body)
					}
					if got := short.do("POST", "/read", body, "Ringway-Consistency", "eventual"); got.body != found("[]") {
						return fmt.Errorf("%s, eventual: got %d %s", body, got.code, got.body)
					}
					return nil
				})
			}
			if route, _ := c.now(); route.Servers[0].Address == "" {
				return
			}
			patient := c.newRouter(func(cfg *router.Config) { tune(cfg); cfg.ID = "r3" })
			testkit.Eventually(t, func() error {
				if got := patient.get(patient.admin + "/routes"); !strings.Contains(got.body, `"floor_doubt": `) {
					return fmt.Errorf("no doubt in %s", got.body)
				}
				return nil
			})
			one.refuse.Store(0)
			patient.want("POST", "/read", readOne, 200, found(rows(1, 1)))
		})
	}
	f("responder", func(*events.TableRoute) {})
	f("silent", func(r *events.TableRoute) {
		r.Shards[0].Responder, r.Shards[0].Replicas[0].Ready = "Server1", false
	})
	f("dead", func(r *events.TableRoute) {
		r.Servers[0].Address, r.Shards[0].Responder, r.Shards[0].Replicas[0].Ready = "", "Server1", false
	})
	f("nobody is ready", func(r *events.TableRoute) {
		r.Servers[0].Address, r.Shards[0].Responder = "", ""
		r.Shards[0].Replicas[0].Ready, r.Shards[0].Replicas[1].Ready = false, false
	})
}

// A server that hangs costs nobody else.
func TestRead_WaitsOnlyForTheReplicasOfItsShard(t *testing.T) {
	var shards []events.Shard
	var ids []string
	for i := range int64(100) {
		shards = append(shards, events.Shard{ID: fmt.Sprintf("sh%d", i), Low: i * 10, Size: 10})
		ids = append(ids, shards[i].ID)
	}
	c := withTable(t, shards, []events.Placement{{Name: "Server0", Shards: ids}, {Name: "Server1", Shards: ids[:99]}})
	tune := cached(t)
	c.router(tune).stop()
	c.bus.Shutdown()
	hung := c.servers["Server1"]
	hung.hold = make(chan struct{})
	defer close(hung.hold)
	f := c.newRouter(func(cfg *router.Config) { tune(cfg); cfg.Database.Read.Learn = testkit.Patience })
	f.want("POST", "/read", `{"Stud_id":{"low":990,"high":990}}`, 200, `{"shards_queried":["sh99"],"data":[],"status":"success"}`)
	if got := f.get(f.admin + "/routes"); strings.Contains(got.body, `"floor_doubt"`) {
		t.Error("the first replicas that hang were given up before the read was answered")
	}
}

// What only a person can mend is answered at once.
func TestRead_DoesNotWaitForALogThatIsGone(t *testing.T) {
	c := oneShard(t)
	testkit.Must(t, c.conn.DeleteLog(t.Context(), events.LogID{Table: events.DefaultTable, Shard: "sh1", Incarnation: life}))
	for _, s := range c.servers {
		s.refuse.Store(503)
	}
	f := c.router(cached(t))
	for range 3 {
		if got := f.do("POST", "/read", readOne); got.code != 503 || !strings.Contains(got.body, "the log does not exist") {
			t.Errorf("got %d %s", got.code, got.body)
		}
	}
}

// A read of many shards has the reason of the one that cannot be answered.
func TestRead_NamesOneShardThatItWaitedFor(t *testing.T) {
	c := eightShards(t)
	tune := cached(t)
	c.router(tune).stop()
	c.bus.Shutdown()
	for _, s := range c.servers {
		s.refuse.Store(503)
	}
	f := c.newRouter(func(cfg *router.Config) { tune(cfg); cfg.Database.Read.Timeout = time.Second })
	got := f.do("POST", "/read", `{"Stud_id":{"low":0,"high":800}}`)
	if got.code != 503 || strings.Count(got.body, "shard sh") != 1 {
		t.Errorf("got %d %s", got.code, got.body)
	}
}

// The database of a replica may go back between its look at the minimum seq and its
// answer.
func TestRead_TakesNoAnswerBelowItsMinSeq(t *testing.T) {
	c := oneShard(t)
	f := c.router(notAvoiding)
	f.do("POST", "/read", readOne) // the log's end is known
	s := c.behind()
	f.fill(1, 1)
	s.lies.Store(true)
	for _, body := range []string{readOne, readAll} {
		if n := f.stale(20, body, found(rows(1, 1))); n > 0 {
			t.Errorf("%s: %d of 20 reads took an answer below their minimum seq", body, n)
		}
	}
}

func TestRead_NeverGoesBack(t *testing.T) {
	c := oneShard(t)
	writer := c.router(nil)
	reader := c.router(notAvoiding)
	if n := reader.stale(10, readOne, found("[]")); n > 0 { // it knows the log's end, which is none
		t.Fatalf("%d reads saw a row that was not written", n)
	}
	c.behind()
	writer.fill(1, 1)
	testkit.Eventually(t, func() error { // some read shows it
		if got := reader.do("POST", "/read", readOne, "Ringway-Consistency", "eventual"); got.body != found(rows(1, 1)) {
			return fmt.Errorf("got %s", got.body)
		}
		return nil
	})
	if n := reader.stale(20, readOne, found(rows(1, 1))); n > 0 {
		t.Errorf("%d of 20 reads went back", n)
	}
}

// A client has seen the beginning of an answer whose end does not come.
func TestRead_NeverGoesBackBehindAPartOfAnAnswer(t *testing.T) {
	c := oneShard(t)
	writer := c.router(nil)
	reader := c.router(func(cfg *router.Config) {
		notAvoiding(cfg)
		cfg.Database.Read.Hold, cfg.Database.Read.Prefetch = 1000, 1000
	})
	if n := reader.stale(10, readOne, found("[]")); n > 0 { // it knows the log's end, which is none
		t.Fatalf("%d reads saw a row that was not written", n)
	}
	c.behind()
	writer.fill(1, 200)
	c.servers["Server0"].cutAt.Store(150)
	testkit.Eventually(t, func() error {
		got, err := reader.try("POST", "/read", `{"Stud_id":{"low":1,"high":200}}`, "Ringway-Consistency", "eventual")
		if err == nil || !strings.Contains(got.body, `"Stud_id":100,`) {
			return fmt.Errorf("got %v, %s", err, got.body)
		}
		return nil
	})
	c.servers["Server0"].cutAt.Store(0)
	if n := reader.stale(20, readOne, found(rows(1, 1))); n > 0 {
		t.Errorf("%d of 20 reads went back", n)
	}
}

func TestRead_LinearizableSeesWhatAnotherRouterWrote(t *testing.T) {
	c := oneShard(t)
	writer := c.router(nil)
	reader := c.router(notAvoiding)
	for id := 1; id <= 8; id++ {
		reader.do("POST", "/read", readOne)
		c.level()
		c.behind() // by the write that follows, and by nothing else
		writer.fill(id, id)
		body := fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, id, id)
		if id%2 == 0 {
			body = fmt.Sprintf(`{"Stud_id":{"low":%d,"high":4000}}`, id)
		}
		if n := reader.stale(1, body, found(rows(id, id)), "Ringway-Consistency", "linearizable"); n > 0 {
			t.Errorf("%s does not see what was written before", body)
		}
	}
}

// level lets Server1 apply all that is in the log.
func (c *cluster) level() {
	c.t.Helper()
	s := c.servers["Server1"]
	s.pause("sh1")
	s.apply("sh1")
	one := s.replicas["sh1"]
	state, err := c.conn.Log(one.log).State(c.t.Context())
	testkit.Must(c.t, err)
	ctx, cancel := context.WithTimeout(c.t.Context(), testkit.Patience)
	defer cancel()
	testkit.Must(c.t, one.wait(ctx, state.Last))
}

func TestRead_SharesQuestions(t *testing.T) {
	const clients = 100
	f := func(inFlight int, stagger time.Duration) {
		t.Helper()
		shards := threeShards[:2]
		c := withTable(t, shards, []events.Placement{{Name: "Server0", Shards: []string{"sh1", "sh2"}}})
		f := c.router(func(cfg *router.Config) {
			cfg.Database.Servers.MaxInFlight, cfg.Database.Servers.Stagger = inFlight, stagger
		})
		f.fill(4046, 4145) // half of them in each shard
		s := c.servers["Server0"]
		f.do("POST", "/read", `{"Stud_id":{"low":4095,"high":4095}}`)
		before := s.reads.Load()
		s.hold = make(chan struct{})
		var all sync.WaitGroup
		read := func(id int) {
			body := fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, id, id)
			want := found(rows(id, id))
			if id >= 4096 {
				want = strings.Replace(want, "sh1", "sh2", 1)
			}
			got, err := f.try("POST", "/read", body)
			if err != nil || got.code != 200 || got.body != want {
				t.Errorf("%s: got %v %d %s", body, err, got.code, got.body)
			}
		}
		for i := range clients {
			all.Go(func() { read(4046 + i) })
			testkit.Eventually(t, func() error { // the first ask, one after the other
				if n := int(s.reads.Load() - before); n < min(i+1, inFlight) {
					return fmt.Errorf("%d questions after %d reads", n, i+1)
				}
				return nil
			})
		}
		testkit.Eventually(t, func() error { // the others wait, and perhaps one for the end of the read before
			m := sharedReads.FindStringSubmatch(f.get(f.admin + "/metrics").body)
			if n, _ := strconv.Atoi(m[1]); n < clients-inFlight {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		close(s.hold)
		all.Wait()
		if n := int(s.reads.Load() - before); n < inFlight+1 || n > 12 {
			t.Errorf("%d in flight: %d reads made %d questions", inFlight, clients, n)
		}
	}
	f(1, time.Hour)
	f(2, time.Nanosecond) // one that takes long lets another leave
}

var sharedReads = regexp.MustCompile(`ringway_router_shared_reads_total (\d+)\n`)

// A replica that takes long costs a read no more than cfg.Hedge.
func TestRead_AsksAnotherReplicaWhenOneTakesLong(t *testing.T) {
	for name, body := range map[string]string{"keys": readOne, "range": readAll} {
		t.Run(name, func(t *testing.T) {
			c := oneShard(t)
			f := c.router(func(cfg *router.Config) {
				cfg.Database.Servers.Try, cfg.Database.Read.Timeout, cfg.Database.Servers.Hedge = time.Hour, time.Hour, 10*time.Millisecond
			})
			f.fill(1, 1)
			hung := c.servers["Server1"]
			hung.hold = make(chan struct{})
			defer close(hung.hold)
			for hung.reads.Load() == 0 {
				f.want("POST", "/read", body, 200, found(rows(1, 1)))
			}
			// On a busy machine others took 10 ms too.
			if body := f.get(f.admin + "/metrics").body; strings.Contains(body, "ringway_router_hedged_reads_total 0\n") {
				t.Error("no read was hedged")
			}
		})
	}
}

func TestMetrics_CountOpsAndReads(t *testing.T) {
	f := oneShard(t).router(nil)
	f.fill(1, 1)
	f.do("POST", "/write", `{"data":`+rows(1, 1)+`}`)
	f.do("POST", "/read", readOne)
	f.do("POST", "/read", readAll)
	body := f.get(f.admin + "/metrics").body
	for _, want := range []string{
		`ringway_router_ops_total{kind="insert",outcome="done",table="StudT"} 1`,
		`ringway_router_ops_total{kind="insert",outcome="duplicate",table="StudT"} 1`,
		`ringway_router_read_seconds_count{kind="keys",table="StudT"} 1`,
		`ringway_router_read_seconds_count{kind="range",table="StudT"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if got := f.get(f.admin + "/routes"); got.code != http.StatusOK || !strings.Contains(got.body, `"floor_known": true`) || !strings.Contains(got.body, `"server": "Server1"`) {
		t.Errorf("/routes: %d %s", got.code, got.body)
	}
}
