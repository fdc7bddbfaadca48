package shard_test

import (
	"fmt"
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
)

// The course's calls to a shard server, in this order.
func TestCourse_EveryCall(t *testing.T) {
	c := newCluster(t, "Server0")
	n := c.nodes["Server0"]
	config := `{"schema":{"columns":["Stud_id","Stud_name"],"dtypes":["Number","String"]},"shards":["sh1"]}`
	if code, body := call(t, "POST", "http://"+n.addr+"/config", config); code != 409 || !strings.Contains(body, "controller") {
		t.Errorf("before it is placed: %d %s", code, body)
	}
	c.keep("Server0*")
	n.is(events.ReplicaReady)
	const failure = `","status":"failure"}`
	for i, x := range []struct {
		call, body string
		code       int
		want       string // all of the answer if it ends with }, else a part of a failure's message
	}{
		{"GET /heartbeat", "", 200, ""},
		{"POST /config", config, 200, `{"message":"Server0:sh1 configured","status":"success"}`},
		{"POST /config", strings.Replace(config, "String", "Number", 1), 409, "another schema"},
		{"POST /config", strings.Replace(config, "sh1", "sh9", 1), 409, "sh9"},
		{"POST /config", strings.Replace(config, `"sh1"`, `"sh1","sh1"`, 1), 400, "twice"},
		{"POST /config", `{"shards":["sh1"]}`, 400, "schema"},
		{"POST /config", `{"schema":{"columns":["Stud_id"],"dtypes":["Text"]},"shards":["sh1"]}`, 400, "dtypes"},
		{"POST /config", `[`, 400, "JSON"},
		{"POST /write", `{"shard":"sh1","curr_idx":507,"data":[{"Stud_id":0,"Stud_name":"GHI"},{"Stud_id":2255,"Stud_name":27}]}`, 200, `{"current_idx":509,"message":"Data entries added","status":"success"}`},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":7,"Stud_name":"x"}]}`, 200, `{"current_idx":1,"message":"Data entries added","status":"success"}`},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"x"},{"Stud_id":7,"Stud_name":"y"}]}`, 409, "Stud_id: 7 is there"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"x"},{"Stud_id":8,"Stud_name":"y"}]}`, 409, "twice"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8}]}`, 400, "data[0]: Stud_name"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"x","More":1}]}`, 400, "More"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":"8","Stud_name":"x"}]}`, 400, "Stud_id"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":-1,"Stud_name":"x"}]}`, 400, "outside of shard sh1"},
		{"POST /write", `{"shard":"sh1","data":[]}`, 400, "data"},
		{"POST /write", `{"shard":"sh1"}`, 400, "data"},
		{"POST /write", `{"shard":"sh1","data":{"Stud_id":8}}`, 400, "data"},
		{"POST /write", `{"shard":"sh1","curr_idx":9223372036854775807,"data":[{"Stud_id":8,"Stud_name":"x"}]}`, 400, "curr_idx: 9223372036854775807 is too large"},
		{"POST /read", `{"shard":"sh1","Stud_id":7}`, 400, "Stud_id is not an object with low and high"},
		{"GET /copy", `{"shards":"sh1"}`, 400, "shards cannot be a JSON string"},
		{"POST /write", `{"shard":"sh1","curr_idx":"x","data":[{"Stud_id":8,"Stud_name":"x"}]}`, 400, "curr_idx"},
		{"POST /write", `{"shard":"sh9","data":[{"Stud_id":8,"Stud_name":"x"}]}`, 400, "sh9"},
		{"POST /write", `{"shard":1,"data":[]}`, 400, "shard"},
		{"POST /write", `{"data":[]}`, 400, "shard: missing"},
		{"POST /write", `null`, 400, "JSON"},
		{"POST /write", ``, 400, "JSON"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"` + strings.Repeat("x", 70000) + `"}]}`, 400, "Stud_name"},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":0,"high":2255}}`, 200, `{"data":[{"Stud_id":0,"Stud_name":"GHI"},{"Stud_id":7,"Stud_name":"x"},{"Stud_id":2255,"Stud_name":27}],"status":"success"}`},
		{"GET /read", `{"shard":"sh1","Stud_id":{"low":1,"high":7}}`, 200, `{"data":[{"Stud_id":7,"Stud_name":"x"}],"status":"success"}`},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":8,"high":9}}`, 200, `{"data":[],"status":"success"}`},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":9,"high":8}}`, 400, "low 9 is greater than high 8"},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":9}}`, 400, "high"},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":"a","high":8}}`, 400, "Stud_id.low"},
		{"POST /read", `{"shard":"sh1","Stud_id":5}`, 400, "Stud_id"},
		{"POST /read", `{"shard":"sh1"}`, 400, "Stud_id is missing"},
		{"PUT /update", `{"shard":"sh1","Stud_id":2255,"data":{"Stud_id":2255,"Stud_name":30}}`, 200, `{"message":"Data entry for Stud_id:2255 updated","status":"success"}`},
		{"PUT /update", `{"shard":"sh1","Stud_id":"0","data":{"Stud_id":0,"Stud_name":"zero"}}`, 200, `{"message":"Data entry for Stud_id:0 updated","status":"success"}`},
		{"PUT /update", `{"shard":"sh1","Stud_id":2255,"data":{"Stud_id":2256,"Stud_name":30}}`, 400, "cannot change"},
		{"PUT /update", `{"shard":"sh1","Stud_id":99,"data":{"Stud_id":99,"Stud_name":30}}`, 404, "Stud_id: 99 is not there"},
		{"PUT /update", `{"shard":"sh1","Stud_id":2255,"data":{"Stud_name":30}}`, 400, "Stud_id"},
		{"PUT /update", `{"shard":"sh1","Stud_id":2255}`, 400, "data"},
		{"PUT /update", `{"shard":"sh1","Stud_id":"x","data":{}}`, 400, "Stud_id"},
		{"DELETE /del", `{"shard":"sh1","Stud_id":7}`, 200, `{"message":"Data entry with Stud_id:7 removed","status":"success"}`},
		{"DELETE /del", `{"shard":"sh1","Stud_id":7}`, 404, "Stud_id: 7 is not there"},
		{"DELETE /del", `{"shard":"sh1","Stud_id":-7}`, 400, "outside"},
		{"DELETE /del", `{"shard":"sh1"}`, 400, "Stud_id: missing"},
		{"GET /copy", `{"shards":["sh1"]}`, 200, `{"sh1":[{"Stud_id":0,"Stud_name":"zero"},{"Stud_id":2255,"Stud_name":30}],"status":"success"}`},
		{"GET /copy", `{"shards":["sh1","sh9"]}`, 400, "sh9"},
		{"GET /copy", `{}`, 400, "shards"},
		{"GET /copy", `{"shards":"sh1"}`, 400, "shards"},
		{"POST /config", strings.Replace(config, "schema", "shema", 1), 400, `shema is unknown; did you mean \"schema\"?`},
		{"POST /config", strings.Replace(config, "dtypes", "types", 1), 400, `schema.types is unknown; did you mean \"dtypes\"?`},
		{"POST /config", strings.Replace(config, `"shards"`, `"shards":["sh9"],"shards"`, 1), 400, "shards is given twice"},
		{"GET /copy", `{"shards":["sh1"],"shard":"sh9"}`, 400, `shard is unknown; did you mean \"shards\"?`},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":1,"high":7},"limit":1}`, 400, "limit is unknown"},
		{"POST /read", `{"shard":"sh1","Stud_id":{"low":1,"high":7,"hihg":9}}`, 400, `Stud_id.hihg is unknown; did you mean \"high\"?`},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"x"}],"data":[{"Stud_id":9,"Stud_name":"x"}]}`, 400, "data is given twice"},
		{"POST /write", `{"shard":"sh1","data":[{"Stud_id":8,"Stud_name":"x","Stud_name":"y"}]}`, 400, "Stud_name: given twice"},
		{"POST /write", `{"shard":"sh1","cur_idx":7,"data":[{"Stud_id":8,"Stud_name":"x"}]}`, 400, `cur_idx is unknown; did you mean \"curr_idx\"?`},
		{"PUT /update", `{"shard":"sh1","Stud_id":2255,"data":{"Stud_id":2255,"Stud_name":31},"if":{"Stud_name":30}}`, 400, "if is unknown"},
		{"DELETE /del", `{"shard":"sh1","Stud_id":2255,"Stud_name":"x"}`, 400, "Stud_name is unknown"},
		{"POST /read", `{"Shard":"sh1","stud_id":{"Low":1,"High":7}}`, 200, `{"data":[],"status":"success"}`},
		{"GET /home", "", 404, "/home"},
		{"GET /write", "", 404, "/write"},
	} {
		method, path, _ := strings.Cut(x.call, " ")
		code, body := call(t, method, "http://"+n.addr+path, x.body)
		got := strings.TrimSuffix(body, "\n")
		ok := got == x.want
		if x.code != 200 {
			ok = strings.HasPrefix(got, `{"message":"`) && strings.Contains(got, "Error") && strings.HasSuffix(got, failure) && strings.Contains(got, x.want)
		}
		if code != x.code || !ok {
			t.Errorf("%d: %s %.100s: %d %s; want %d %s", i, x.call, x.body, code, got, x.code, x.want)
		}
	}
}

// A large range is streamed, and two shards' copies as well.
func TestCourse_LargeAnswersAreWhole(t *testing.T) {
	c := newCluster(t, "s1")
	c.keep("s1*")
	n := c.nodes["s1"]
	n.is(events.ReplicaReady)
	const rows = 600
	op := &shardlog.Op{Kind: shardlog.OpInsert}
	for k := range int64(rows) {
		op.Rows = append(op.Rows, rowjson.Row{rowjson.Int(k), rowjson.Text(strings.Repeat("long ", 50))})
	}
	c.do(op)
	for _, high := range []int{499, 1_000_000} { // long, and long by its bounds already
		want := min(high+1, rows)
		_, body := call(t, "POST", "http://"+n.addr+"/read", fmt.Sprintf(`{"shard":"sh1","Stud_id":{"low":0,"high":%d}}`, high))
		if got := strings.Count(body, `"Stud_name"`); got != want || !strings.HasSuffix(body, "],\"status\":\"success\"}\n") {
			t.Errorf("up to %d: %d rows, and the end is %q", high, got, body[len(body)-40:])
		}
		_, body = call(t, "GET", n.url(fmt.Sprintf("rows?log=life1&low=0&high=%d", high)), "")
		lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		if last := lines[len(lines)-1]; len(lines) != want+2 || lines[0] != "@1" || last != fmt.Sprintf("#1 %d", want) {
			t.Errorf("up to %d: %d lines, the last is %q", high, len(lines), last)
		}
	}
	_, body := call(t, "GET", "http://"+n.addr+"/copy", `{"shards":["sh1"]}`)
	if got := strings.Count(body, `"Stud_name"`); got != rows || !strings.HasSuffix(body, "],\"status\":\"success\"}\n") {
		t.Errorf("copy: %d rows", got)
	}
}
