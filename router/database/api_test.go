package database_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/router"
)

// The calls of the second assignment, one by one: what clients do with rows.
func TestDatabase_WritesReadsUpdatesAndRemoves(t *testing.T) {
	f := configured(t).router(nil)
	const two = `[{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":27},{"Stud_id":8888,"Stud_name":"XYZ","Stud_marks":"56"}]`
	f.want("POST", "/write", `{"data":`+two+`}`, 200, `{"message":"2 Data entries added","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":1000,"high":8889}}`, 200,
		`{"shards_queried":["sh1","sh2","sh3"],"data":`+two+`,"status":"success"}`)
	f.want("GET", "/read", `{"Stud_id":{"low":1000,"high":8889}}`, 200,
		`{"shards_queried":["sh1","sh2","sh3"],"data":`+two+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2255,"high":8888}}`, 200, // both ends included
		`{"shards_queried":["sh1","sh2","sh3"],"data":`+two+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2256,"high":8887}}`, 200, `{"shards_queried":["sh1","sh2","sh3"],"data":[],"status":"success"}`)
	f.want("PUT", "/update", `{"Stud_id":"2255","data":{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":30}}`, 200,
		`{"message":"Data entry for Stud_id: 2255 updated","status":"success"}`)
	f.want("PUT", "/update", `{"Stud_id":8888,"data":{"Stud_id":8888,"Stud_name":"XYZ","Stud_marks":"<57>"}}`, 200,
		`{"message":"Data entry for Stud_id: 8888 updated","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2255,"high":2255}}`, 200,
		`{"shards_queried":["sh1"],"data":[{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":30}],"status":"success"}`)
	f.want("DELETE", "/del", `{"Stud_id":2255}`, 200,
		`{"message":"Data entry with Stud_id:2255 removed from all replicas","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2255,"high":2255}}`, 200, `{"shards_queried":["sh1"],"data":[],"status":"success"}`)
	f.want("GET", "/read/Server1", "", 200,
		`{"sh2":[],"sh3":[{"Stud_id":8888,"Stud_name":"XYZ","Stud_marks":"<57>"}],"status":"success"}`)
	f.want("GET", "/primary_elect", `{"shard":"sh1"}`, 200, `{"primary":"Server0","status":"success"}`)
	f.want("GET", "/primary_elect?shard=sh3", "", 200, `{"primary":"Server1","status":"success"}`)
	f.want("GET", "/status", "", 200, `{"N":3,"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},
		"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096},{"Stud_id_low":8192,"Shard_id":"sh3","Shard_size":4096}],
		"servers":{"Server0":["sh1","sh2"],"Server1":["sh2","sh3"],"Server2":["sh1","sh3"]}}`)
	if got := f.do("GET", "/status", "").body; strings.Index(got, "Server0") > strings.Index(got, "Server1") || strings.Index(got, "Server1") > strings.Index(got, "Server2") {
		t.Errorf("servers are not in their order: %s", got)
	}
}

func TestRead_MergesShardsInTheOrderOfKeys(t *testing.T) {
	f := withTable(t, []events.Shard{{ID: "c", Low: 200, Size: 100}, {ID: "a", Low: 0, Size: 100}, {ID: "b", Low: 100, Size: 100}}, []events.Placement{
		{Name: "Server0", Shards: []string{"b", "a"}}, {Name: "Server1", Shards: []string{"c"}},
	}).router(nil)
	f.fill(0, 299) // id 0, and the last one
	all := `"shards_queried":["a","b","c"]`
	f.want("POST", "/read", `{"Stud_id":{"low":98,"high":203}}`, 200, `{`+all+`,"data":`+rows(98, 203)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":-9223372036854775808,"high":9223372036854775807}}`, 200, `{`+all+`,"data":`+rows(0, 299)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":95,"high":102}}`, 200, // few keys of two shards
		`{"shards_queried":["a","b"],"data":`+rows(95, 102)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":-5,"high":3}}`, 200, `{"shards_queried":["a"],"data":`+rows(0, 3)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":297,"high":99999}}`, 200, `{"shards_queried":["c"],"data":`+rows(297, 299)+`,"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":300,"high":99999}}`, 200, `{"shards_queried":[],"data":[],"status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":20000,"high":20000}}`, 200, `{"shards_queried":[],"data":[],"status":"success"}`)
	f.want("GET", "/read/Server0", "", 200, `{"b":`+rows(100, 199)+`,"a":`+rows(0, 99)+`,"status":"success"}`)
	for id := 100; id < 200; id++ { // an empty shard between two others
		f.do("DELETE", "/del", fmt.Sprintf(`{"Stud_id":%d}`, id))
	}
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":299}}`, 200, `{`+all+`,"data":`+
		strings.TrimSuffix(rows(0, 99), "]")+","+strings.TrimPrefix(rows(200, 299), "[")+`,"status":"success"}`)
}

func TestDatabase_InitAddAndRemoveAskTheLeader(t *testing.T) {
	c := newCluster(t)
	f := c.router(nil)
	var epoch events.Epoch
	c.decides(events.APIInit, func(b []byte) (any, error) {
		var req events.InitRequest
		testkit.Must(t, json.Unmarshal(b, &req))
		want := events.InitRequest{ID: req.ID, N: 4, Table: events.Table{Name: "StudT", Schema: schema, Shards: threeShards},
			Servers: append(append([]events.Placement{}, threeOnTwo...), events.Placement{Shards: []string{"sh1"}})}
		if req.ID == "" || !reflect.DeepEqual(req, want) {
			t.Errorf("asked %+v, want %+v", req, want)
		}
		if epoch.Zero() {
			epoch = c.create(threeShards, threeOnTwo)
		}
		return events.ServersReply{Table: "StudT", N: 4, Epoch: epoch}, nil
	})
	const shards = `"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096},{"Stud_id_low":8192,"Shard_id":"sh3","Shard_size":4096}]`
	const columns = `"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]}`
	f.want("POST", "/init", `{"N":4,`+columns+`,`+shards+`,"servers":{"Server0":["sh1","sh2"],"Server1":["sh2","sh3"],"Server2":["sh1","sh3"],"Server[9]":["sh1"]}}`,
		200, `{"message":"Configured Database","status":"success"}`)
	f.want("POST", "/write", `{"data":`+rows(5, 5)+`}`, 200, `{"message":"1 Data entries added","status":"success"}`) // it is served

	c.decides(events.APIInit, func([]byte) (any, error) { return nil, events.StatusErrorf(409, "table StudT exists already") })
	f.want("POST", "/init", `{"N":4,`+columns+`,`+shards+`}`, 409, failure("table StudT exists already"))

	c.decides(events.APIAddServers, func(b []byte) (any, error) {
		var req events.ServersRequest
		testkit.Must(t, json.Unmarshal(b, &req))
		want := events.ServersRequest{ID: req.ID, Table: "StudT", N: 2, NewShards: []events.Shard{{ID: "sh5", Low: 12288, Size: 4096}},
			Servers: []events.Placement{{Name: "Server4", Shards: []string{"sh3", "sh5"}}, {Shards: []string{"sh2", "sh5"}}}}
		if req.ID == "" || !reflect.DeepEqual(req, want) {
			t.Errorf("asked %+v, want %+v", req, want)
		}
		return events.ServersReply{Table: "StudT", N: 5, Added: []string{"Server4", "Server58127"}, Epoch: epoch}, nil
	})
	f.want("POST", "/add", `{"n":2,"new_shards":[{"Stud_id_low":12288,"Shard_id":"sh5","Shard_size":4096}],"servers":{"Server4":["sh3","sh5"],"Server[5]":["sh2","sh5"]}}`,
		200, `{"N":5,"message":"Add Server:4 and Server:58127","status":"successful"}`)
	for added, want := range map[string]string{"Server4": "Add Server:4", "db,Server2,Server3": "Add Server:db, Server:2 and Server:3"} {
		c.decides(events.APIAddServers, func([]byte) (any, error) {
			return events.ServersReply{Table: "StudT", N: 5, Added: strings.Split(added, ","), Epoch: epoch}, nil
		})
		f.want("POST", "/add", `{"n":1,"servers":{"Server4":[]}}`, 200, fmt.Sprintf(`{"N":5,"message":%q,"status":"successful"}`, want))
	}

	c.decides(events.APIRemoveServers, func(b []byte) (any, error) {
		var req events.ServersRequest
		testkit.Must(t, json.Unmarshal(b, &req))
		if want := (events.ServersRequest{ID: req.ID, Table: "StudT", N: 2, Names: []string{"Server4"}}); req.ID == "" || !reflect.DeepEqual(req, want) {
			t.Errorf("asked %+v, want %+v", req, want)
		}
		return events.ServersReply{Table: "StudT", N: 3, Removed: []string{"Server1", "Server4"}, Epoch: epoch}, nil
	})
	f.want("DELETE", "/rm", `{"n":2,"servers":["Server4"]}`, 200, `{"message":{"N":3,"servers":["Server1","Server4"]},"status":"successful"}`)
	c.decides(events.APIRemoveServers, func([]byte) (any, error) {
		return nil, events.StatusErrorf(400, "servers: Server0 has the last copy of shard sh1")
	})
	f.want("DELETE", "/rm", `{"n":1,"servers":["Server0"]}`, 400, failure("servers: Server0 has the last copy of shard sh1"))

	// Without servers or shards it is the HTTP service's.
	c.decides(events.APIAdd, func([]byte) (any, error) { return nil, events.StatusErrorf(400, "of the service") })
	f.want("POST", "/add", `{"n":1}`, 400, failure("of the service"))
}

func TestDatabase_AnswersWhenThisRouterServesTheChange(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	_, before := c.now()
	next := events.Epoch{Incarnation: before.Incarnation, Revision: before.Revision + 1}
	asked := make(chan struct{})
	c.decides(events.APIAddServers, func([]byte) (any, error) { return nil, events.StatusErrorf(400, "no") })
	c.decides(events.APIRemoveServers, func([]byte) (any, error) {
		close(asked)
		return events.ServersReply{Table: "StudT", N: 2, Removed: []string{"Server2"}, Epoch: next}, nil
	})
	answered := make(chan result, 1)
	go func() {
		got, _ := f.try("DELETE", "/rm", `{"n":1,"servers":["Server2"]}`)
		answered <- got
	}()
	<-asked
	for range 30 { // time enough to answer too early: other answers of the leader come after the first
		f.do("POST", "/add", `{"n":1,"servers":{"Server4":[]}}`)
	}
	select {
	case got := <-answered:
		t.Fatalf("answered before it is served: %d %s", got.code, got.body)
	default:
	}
	if got := c.put(func(r *events.TableRoute) { r.Servers[2].Address = "" }); got != next {
		t.Fatalf("epoch %s, want %s", got, next)
	}
	if got := <-answered; got.code != 200 {
		t.Fatalf("got %d %s", got.code, got.body)
	}
}

func TestDatabase_GivesUpClearlyWithoutALeader(t *testing.T) {
	c := configured(t)
	f := c.router(func(cfg *router.Config) { cfg.NoLeader, cfg.Database.Scale = 200*time.Millisecond, 10*time.Second })
	for err, want := range map[error]int{events.ErrNoLeader: 503, events.ErrUnknownOutcome: 504, events.StatusErrorf(503, "too few hosts"): 503} {
		c.decides(events.APIRemoveServers, func([]byte) (any, error) { return nil, err })
		got := f.do("DELETE", "/rm", `{"n":1,"servers":["Server2"]}`)
		if got.code != want || (want == 503) != (got.header.Get("Retry-After") != "") {
			t.Errorf("%v: got %d %s %v, want %d", err, got.code, got.body, got.header, want)
		}
	}
}

func TestDatabase_WithoutATable(t *testing.T) {
	c := newCluster(t)
	f := c.router(nil)
	calls := [][3]string{
		{"GET", "/status", ""}, {"POST", "/read", `{"Stud_id":{"low":1,"high":2}}`}, {"POST", "/write", `{"data":[]}`}, {"PUT", "/update", `{}`},
		{"DELETE", "/del", `{}`}, {"GET", "/read/Server0", ""}, {"GET", "/primary_elect", `{"shard":"sh1"}`}, {"GET", "/v1/ops/StudT.sh1.x.0", ""},
		{"POST", "/add", `{"n":1,"servers":{"Server4":["sh1"]}}`}, {"DELETE", "/rm", `{"n":1,"servers":["Server4"]}`},
	}
	for _, x := range calls { // it may only not know it yet
		f.want(x[0], x[1], x[2], 503, failure("no table is known yet: neither the bus nor a controller was heard since this router started; try again"))
	}
	testkit.Eventually(t, func() error {
		testkit.Must(t, c.conn.Publish(events.HeartbeatController, events.ControllerHeartbeat{Controller: "c1"}))
		if got := f.do("GET", "/status", ""); got.code == 503 {
			return fmt.Errorf("got %s", got.body)
		}
		return nil
	})
	none := failure("no database is configured; POST /init first")
	for _, x := range calls {
		f.want(x[0], x[1], x[2], 400, none)
	}
}

func TestDatabase_NamesTheMethodsToUse(t *testing.T) {
	f := configured(t).router(nil)
	for path, allow := range map[string]string{
		"/init": "POST", "/status": "GET, HEAD", "/read": "POST, GET", "/write": "POST", "/update": "PUT", "/del": "DELETE",
		"/primary_elect": "GET", "/read/Server0": "GET", "/v1/ops/x": "GET",
	} {
		got := f.do(http.MethodPatch, path, "{}")
		if got.code != 405 || got.header.Get("Allow") != allow {
			t.Errorf("PATCH %s: got %d, Allow %q, want %q", path, got.code, got.header.Get("Allow"), allow)
		}
	}
	if got := f.do("HEAD", "/status", ""); got.code != 200 || got.body != "" {
		t.Errorf("HEAD /status: %d %q", got.code, got.body)
	}
}

// A call that means the table of the assignment goes on to mean it when there are others.
func TestDatabase_CallsThatNameNoTable(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	add := func(name string) {
		t.Helper()
		route, _ := c.now()
		route.Table.Name = name
		value, err := json.Marshal(route)
		testkit.Must(t, err)
		epoch, err := c.bucket.Create(t.Context(), events.TableKey(name), value)
		testkit.Must(t, err)
		f.serves(epoch)
	}
	add("Marks")
	f.fill(1, 1)
	f.want("POST", "/read", readOne, 200, found(rows(1, 1)))
	f.want("DELETE", "/del", `{"Stud_id":1}`, 200, `{"message":"Data entry with Stud_id:1 removed from all replicas","status":"success"}`)

	add("Grades")
	_, epoch := c.now()
	testkit.Must(t, c.bucket.Delete(t.Context(), events.TableKey(events.DefaultTable), epoch))
	testkit.Eventually(t, func() error {
		if got := f.do("GET", "/status?table="+events.DefaultTable, ""); got.code != 404 {
			return fmt.Errorf("the table is still served: %d %s", got.code, got.body)
		}
		return nil
	})
	which := failure("table is missing; name one of Grades, Marks")
	f.want("POST", "/write", `{"data":`+rows(1, 1)+`}`, 400, which)
	f.want("POST", "/read", readOne, 400, which)
	f.want("DELETE", "/del", `{"Stud_id":1}`, 400, which)
	f.want("DELETE", "/rm", `{"n":1,"servers":["Server0"]}`, 400, which)
	f.want("GET", "/status", "", 400, which)
	f.want("GET", "/primary_elect?shard=sh1", "", 400, which)
	const responder = `{"primary":"Server0","status":"success"}`
	f.want("GET", "/primary_elect?shard=sh1&table=Marks", "", 200, responder)
	f.want("GET", "/primary_elect", `{"shard":"sh1","table":"Marks"}`, 200, responder)
}
