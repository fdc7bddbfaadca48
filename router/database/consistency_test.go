package database_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/router"
)

// oneShard is kept by Server0, which is eager, and by Server1.
func oneShard(t *testing.T) *cluster {
	return withTable(t, threeShards[:1], []events.Placement{{Name: "Server0", Shards: []string{"sh1"}}, {Name: "Server1", Shards: []string{"sh1"}}})
}

// behind stops Server1 from applying, and from waiting for long.
func (c *cluster) behind() *shardServer {
	s := c.servers["Server1"]
	s.wait = 20 * time.Millisecond
	s.pause("sh1")
	return s
}

// notAvoiding asks a replica that failed a moment ago as often as the others.
func notAvoiding(cfg *router.Config) { cfg.ID, cfg.Database.Avoid = "r2", time.Nanosecond }

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

func TestRead_SeesWhatItsRouterAcknowledged(t *testing.T) {
	c := oneShard(t)
	f := c.router(notAvoiding)
	c.behind()
	f.fill(1, 1)
	for _, body := range []string{readOne, readAll} {
		if n := f.stale(60, body, found(rows(1, 1)), "Ringway-Consistency", "eventual"); n == 0 {
			t.Errorf("%s: no eventual read went to the replica that is behind: the test proves nothing", body)
		}
		if n := f.stale(20, body, found(rows(1, 1))); n > 0 {
			t.Errorf("%s: %d of 20 reads do not see the write", body, n)
		}
	}
}

// A router that is new has to show what others acknowledged before.
func TestRead_BeginsAtTheEndOfTheLog(t *testing.T) {
	c := oneShard(t)
	first := c.router(nil)
	c.behind()
	first.fill(1, 1)
	first.stop()
	second := c.router(notAvoiding)
	if n := second.stale(20, readOne, found(rows(1, 1))); n > 0 {
		t.Errorf("%d of 20 reads do not see the write", n)
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
	eventually(t, func() error { // some read shows it
		if got := reader.do("POST", "/read", readOne, "Ringway-Consistency", "eventual"); got.body != found(rows(1, 1)) {
			return fmt.Errorf("got %s", got.body)
		}
		return nil
	})
	if n := reader.stale(20, readOne, found(rows(1, 1))); n > 0 {
		t.Errorf("%d of 20 reads went back", n)
	}
}

func TestRead_LinearizableSeesWhatAnotherRouterWrote(t *testing.T) {
	c := oneShard(t)
	writer := c.router(nil)
	reader := c.router(notAvoiding)
	reader.do("POST", "/read", readOne)
	c.behind()
	for id := 1; id <= 10; id++ {
		writer.fill(id, id)
		for _, body := range []string{fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, id, id), fmt.Sprintf(`{"Stud_id":{"low":%d,"high":4000}}`, id)} {
			if n := reader.stale(2, body, found(rows(id, id)), "Ringway-Consistency", "linearizable"); n > 0 {
				t.Errorf("%s: %d of 2 reads do not see what was written before", body, n)
			}
		}
	}
	if n := reader.stale(60, readOne, found(rows(1, 1)), "Ringway-Consistency", "eventual"); n == 0 {
		t.Error("no eventual read went to the replica that is behind: the test proves nothing")
	}
}

func TestRead_SharesQuestions(t *testing.T) {
	c := withTable(t, threeShards[:1], []events.Placement{{Name: "Server0", Shards: []string{"sh1"}}})
	f := c.router(func(cfg *router.Config) { cfg.Database.Flying = 2 })
	f.fill(0, 99)
	s := c.servers["Server0"]
	f.do("POST", "/read", readOne)
	before := s.reads.Load()
	s.hold = make(chan struct{})
	var clients sync.WaitGroup
	for id := range 100 {
		clients.Go(func() {
			body := fmt.Sprintf(`{"Stud_id":{"low":%d,"high":%d}}`, id, id)
			got, err := f.try("POST", "/read", body)
			if want := found(rows(id, id)); err != nil || got.code != 200 || got.body != want {
				t.Errorf("%s: got %v %d %s", body, err, got.code, got.body)
			}
		})
	}
	eventually(t, func() error { // two ask, the others wait
		if body := f.get(f.admin + "/metrics").body; !strings.Contains(body, "ringway_router_shared_reads_total 98\n") {
			return fmt.Errorf("not all wait: %.0s", body)
		}
		return nil
	})
	close(s.hold)
	clients.Wait()
	if n := s.reads.Load() - before; n > 4 {
		t.Errorf("100 reads made %d questions, want at most 4", n)
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
