package router

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("answer %q: %v", got, err)
		return
	}
	testkit.Must(t, json.Unmarshal([]byte(want), &w))
	if a, b := fmt.Sprint(g), fmt.Sprint(w); a != b {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The calls of the first assignment.
func TestAssignmentAPI(t *testing.T) {
	w := start(t, nil)
	address := replica(t, replyWith("hello"))
	base := route(routeMember(1, address), routeMember(2, address), routeMember(3, address))
	base.Paths = []string{"/home", "/heartbeat"}
	drains := routeMember(4, address)
	drains.Draining = true
	withDraining := route(routeMember(1, address), routeMember(2, address), routeMember(3, address), drains)
	withDraining.Paths = base.Paths
	epoch := w.put(withDraining)

	var requests []events.ScaleRequest
	w.bus.leader = func(verb string, req events.ScaleRequest) (events.ScaleReply, error) {
		requests = append(requests, req)
		if verb == events.APIAdd {
			return events.ScaleReply{Service: "web", Replicas: []string{"S1", "S2", "S3", "S5", "S4"}, Epoch: epoch}, nil
		}
		return events.ScaleReply{Service: "web", Replicas: []string{"S1"}, Epoch: epoch}, nil
	}
	const three = `{"message":{"N":3,"replicas":["S1","S2","S3"]},"status":"successful"}`
	fail := func(message string) string {
		b, _ := json.Marshal(map[string]string{"message": "<Error> " + message, "status": "failure"})
		return string(b)
	}
	f := func(method, path, body string, code int, want string) {
		t.Helper()
		got := w.do(method, path, body)
		if got.code != code {
			t.Errorf("%s %s %s: got %d %s, want %d", method, path, body, got.code, got.body, code)
			return
		}
		sameJSON(t, got.body, want)
		if ct := got.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s %s: content type %q", method, path, ct)
		}
	}
	f("GET", "/rep", "", 200, three)
	f("POST", "/add", `{"n":2,"hostnames":["S5","S4"]}`, 200, `{"message":{"N":5,"replicas":["S1","S2","S3","S5","S4"]},"status":"successful"}`)
	f("POST", "/add", `{"n":2}`, 200, `{"message":{"N":5,"replicas":["S1","S2","S3","S5","S4"]},"status":"successful"}`)
	f("POST", "/add", `{"N":2,"HostNames":["S5","S4"]}`, 200, `{"message":{"N":5,"replicas":["S1","S2","S3","S5","S4"]},"status":"successful"}`)
	f("POST", "/add", `{"n":2,"hostnames":null}`, 200, `{"message":{"N":5,"replicas":["S1","S2","S3","S5","S4"]},"status":"successful"}`)
	f("POST", "/add", `{"n":1,"hostnames":["S5","S4"]}`, 400, fail("Length of hostname list is more than newly added instances"))
	f("DELETE", "/rm", `{"n":2,"hostnames":["S2"]}`, 200, `{"message":{"N":1,"replicas":["S1"]},"status":"successful"}`)
	f("DELETE", "/rm", `{"n":1,"hostnames":["S5","S4"]}`, 400, fail("Length of hostname list is more than removable instances"))
	f("GET", "/other", "", 400, fail("'/other' endpoint does not exist in server replicas"))
	f("GET", "/other?x=1", "", 400, fail("'/other' endpoint does not exist in server replicas"))
	f("GET", "/x/../home", "", 400, fail("'/x/../home' endpoint does not exist in server replicas"))
	for _, path := range []struct{ method, path string }{{"POST", "/add"}, {"DELETE", "/rm"}} {
		before := len(requests)
		f(path.method, path.path, ``, 400, fail("the body is no JSON object"))
		f(path.method, path.path, `{"n":3`, 400, fail("the body is no JSON object"))
		f(path.method, path.path, `[3]`, 400, fail("the body is no JSON object"))
		f(path.method, path.path, `null`, 400, fail("the body is no JSON object"))
		f(path.method, path.path, `{"n":1} {"n":2}`, 400, fail("the body goes on after the JSON object"))
		f(path.method, path.path, `{"hostnames":["S5"]}`, 400, fail("n is missing"))
		for _, n := range []string{`"3"`, `1.5`, `null`, `true`, `[1]`, `1e3`, `99999999999999999999`} {
			f(path.method, path.path, `{"n":`+n+`}`, 400, fail("n is not an integer"))
		}
		f(path.method, path.path, `{"n":3,"hostnames":"S5"}`, 400, fail("hostnames is not a list"))
		f(path.method, path.path, `{"n":3,"hostnames":["S5",4]}`, 400, fail("hostnames[1] is not a string"))
		f(path.method, path.path, `{"n":3,"hostnames":[null]}`, 400, fail("hostnames[0] is not a string"))
		f(path.method, path.path, `{"n":1,"hostname":["S5"]}`, 400, fail(`hostname is unknown; did you mean "hostnames"?`))
		f(path.method, path.path, `{"n":1,"server":["S5"]}`, 400, fail(`server is unknown; did you mean "servers"?`))
		f(path.method, path.path, `{"n":1,"shards":["S5"]}`, 400, fail(`shards is unknown; use n, hostnames, servers, new_shards, table`))
		f(path.method, path.path, `{"n":1,"if":"S5"}`, 400, fail(`if is unknown; did you mean "n"?`))
		f(path.method, path.path, `{"n":1,"table":"L"}`, 400, fail("no database is configured; POST /init first"))
		f(path.method, path.path, `{"n":3,"n":1}`, 400, fail("n is given twice"))
		f(path.method, path.path, `{"n":3,"N":1}`, 400, fail("n, also as N, is given twice"))
		f(path.method, path.path, `{"n":1,"hostnames":["S5"],"hostnames":["S6"]}`, 400, fail("hostnames is given twice"))
		f(path.method, path.path+"?n=1", `{"n":1}`, 400, fail("n: this call has no query; what it is about is in its body"))
		for _, field := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
			if got := w.do(path.method, path.path, `{"n":1}`, field, "*"); got.code != 400 || !strings.Contains(got.body, field+": ") {
				t.Errorf("%s %s with %s: got %d %s", path.method, path.path, field, got.code, got.body)
			}
		}
		if got := w.do(path.method, path.path, `{"n":1}`, "Idempotency-Key", "a"); got.code != 400 {
			t.Errorf("%s %s with an idempotency key: got %d %s", path.method, path.path, got.code, got.body)
		}
		f(path.method, path.path, `{"n":3,"servers":{}}`, 400, fail("no database is configured; POST /init first"))
		f(path.method, path.path, `{"n":0}`, 400, fail("n is 0; it must be at least 1"))
		f(path.method, path.path, `{"n":-1}`, 400, fail("n is -1; it must be at least 1"))
		f(path.method, path.path, `{"n":-1,"hostnames":["S5"]}`, 400, fail("n is -1; it must be at least 1"))
		if len(requests) != before {
			t.Errorf("%s: the leader was asked about a bad body", path.path)
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/rep", "GET, HEAD"}, {"GET", "/add", "POST"}, {"GET", "/rm", "DELETE"}, {"POST", "/rm", "DELETE"},
	} {
		if got := w.do(c.method, c.path, `{"n":1}`); got.code != 405 || got.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d, Allow %q", c.method, c.path, got.code, got.header.Get("Allow"))
		}
	}
	if got := w.do("POST", "/add", `{"n":1,"x":"`+strings.Repeat("x", 2<<20)+`"}`); got.code != 413 {
		t.Errorf("a body of 2 MiB: got %d", got.code)
	}
	for _, req := range requests {
		if req.ID == "" || req.Service != "web" {
			t.Errorf("the leader was asked %+v", req)
		}
	}
}

func TestAssignmentAPI_WithoutAnyMember(t *testing.T) {
	w := start(t, nil)
	f := func(path string) {
		t.Helper()
		if got := w.do("GET", path, ""); got.code != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d %s", path, got.code, got.body)
		}
	}
	f("/home")
	f("/rep") // nothing is known yet
	empty := events.Route{Service: "web", Algorithm: events.Balanced, Key: events.DefaultServiceSpec().Key, Timeout: events.Duration(time.Second)}
	w.put(empty)
	f("/home")
	sameJSON(t, w.do("GET", "/rep", "").body, `{"message":{"N":0,"replicas":[]},"status":"successful"}`)
}

func TestScale_AnswersWhenThisRouterServesIt(t *testing.T) {
	w := start(t, nil)
	address := replica(t, replyWith("hello"))
	w.put(route(routeMember(1, address)))
	next := events.Epoch{Incarnation: "one", Revision: 2}
	requests := make(chan struct{})
	w.bus.leader = func(string, events.ScaleRequest) (events.ScaleReply, error) {
		defer close(requests)
		return events.ScaleReply{Service: "web", Replicas: []string{"S1", "S2"}, Epoch: next}, nil
	}
	answered := make(chan result, 1)
	var served events.Epoch
	go func() {
		got, _ := w.try("POST", "/add", `{"n":1}`)
		served = w.served().Epoch
		answered <- got
	}()
	<-requests
	for range 50 { // time enough to answer too early
		w.do("GET", "/home", "")
	}
	w.put(route(routeMember(1, address), routeMember(2, address)))
	if got := <-answered; got.code != 200 || served != next {
		t.Fatalf("got %d %s while %s was served", got.code, got.body, served)
	}
}

func TestScale_RepeatsWithTheSameID(t *testing.T) {
	w := start(t, func(c *Config) { c.NoLeader = time.Second })
	epoch := w.put(route(routeMember(1, replica(t, replyWith("hello")))))
	var mu sync.Mutex
	var ids []string
	w.bus.leader = func(_ string, req events.ScaleRequest) (events.ScaleReply, error) {
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, req.ID)
		switch len(ids) {
		case 1:
			return events.ScaleReply{}, fmt.Errorf("ask: %w", events.ErrNoLeader)
		case 2:
			return events.ScaleReply{}, fmt.Errorf("ask: %w", events.ErrUnknownOutcome)
		}
		return events.ScaleReply{Service: "web", Replicas: []string{"S1"}, Epoch: epoch}, nil
	}
	if got := w.do("POST", "/add", `{"n":1}`); got.code != 200 {
		t.Fatalf("got %d %s", got.code, got.body)
	}
	if len(ids) != 3 || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Fatalf("ids %v", ids)
	}
}

func TestScale_GivesUpClearly(t *testing.T) {
	f := func(err error, want int) {
		t.Helper()
		w := start(t, func(c *Config) { c.NoLeader, c.Assignment.Scale = 50*time.Millisecond, 200*time.Millisecond })
		w.put(route(routeMember(1, replica(t, replyWith("hello")))))
		w.bus.leader = func(string, events.ScaleRequest) (events.ScaleReply, error) { return events.ScaleReply{}, err }
		got := w.do("POST", "/add", `{"n":1}`)
		if got.code != want || want == 503 && got.header.Get("Retry-After") == "" {
			t.Errorf("%v: got %d %s, want %d", err, got.code, got.body, want)
		}
		testkit.Must(t, w.stop())
	}
	f(events.ErrNoLeader, 503)
	f(events.ErrUnknownOutcome, 504)
	f(events.StatusErrorf(409, "another"), 409)
	f(events.StatusErrorf(503, "too few hosts"), 503)
}

func TestCourse_DrawsTheSharesOfTheHandout(t *testing.T) {
	w := start(t, nil)
	w.put(courseRoute(t, replica(t, replyWith("S1")), replica(t, replyWith("S2")), replica(t, replyWith("S3"))))
	count := map[string]int{}
	for range 3000 {
		count[w.do("GET", "/home", "").body]++
	}
	for name, want := range map[string]float64{"S1": 84.37, "S2": 4.69, "S3": 10.94} {
		if got := float64(count[name]) / 30; got < want-4 || got > want+4 {
			t.Errorf("%s has %.1f %%, want %.1f", name, got, want)
		}
	}
}
