package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ringway/events"
)

// The course's default configuration (assignment 2, A-1).
const sixServers = `{"N":6,
	"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},
	"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096},
		{"Stud_id_low":8192,"Shard_id":"sh3","Shard_size":4096},{"Stud_id_low":12288,"Shard_id":"sh4","Shard_size":4096}],
	"servers":{"Server0":["sh1","sh2"],"Server1":["sh3","sh4"],"Server3":["sh1","sh3"],"Server4":["sh4","sh2"],"Server5":["sh1","sh4"],"Server6":["sh3","sh2"]}}`

func student(id int, name string, marks any) string {
	m, err := json.Marshal(marks)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"Stud_id":%d,"Stud_name":%q,"Stud_marks":%s}`, id, name, m)
}

// students is n rows from id low on.
func students(low, n int) (rows []string) {
	for id := low; id < low+n; id++ {
		rows = append(rows, student(id, fmt.Sprintf("S%d", id), id%101))
	}
	return rows
}

func list(rows ...string) string { return "[" + strings.Join(rows, ",") + "]" }

// database is a cluster with the default configuration, made over HTTP.
func database(t *testing.T, args ...string) *cluster {
	t.Helper()
	c := up(t, args...)
	c.expect("POST", "/init", sixServers, 200, `{"message":"Configured Database","status":"success"}`)
	return c
}

// The calls of the course's second assignment, one by one, on the default configuration.
func TestUp_DatabaseCourseAPI(t *testing.T) {
	t.Parallel()
	c := up(t)
	t.Run("nothing before init", func(t *testing.T) {
		c.refuses("POST", "/read", `{"Stud_id":{"low":0,"high":1}}`, 400, "init")
		c.refuses("POST", "/write", `{"data":[]}`, 400, "init")
	})
	t.Run("init refuses what cannot be", func(t *testing.T) {
		schema := `"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]}`
		shard := `{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096}`
		f := func(body string, names ...string) {
			t.Helper()
			c.refuses("POST", "/init", body, 400, names...)
		}
		f(`nonsense`)
		f(`{"N":0,`+schema+`,"shards":[`+shard+`]}`, "N")
		f(`{"N":1,"shards":[`+shard+`]}`, "schema")
		f(`{"N":1,` + schema + `,"shards":[]}`)
		f(`{"N":1,`+schema+`,"shards":[`+shard+`,`+shard+`]}`, "sh1")
		f(`{"N":1,`+schema+`,"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":0}]}`, "sh1")
		f(`{"N":1,`+schema+`,"shards":[`+shard+`,{"Stud_id_low":4095,"Shard_id":"sh2","Shard_size":10}]}`, "sh1", "sh2")
		f(`{"N":1,`+schema+`,"shards":[`+shard+`],"servers":{"Server0":["sh9"]}}`, "sh9")
		f(`{"N":1,`+schema+`,"shards":[`+shard+`],"servers":{"Server0":["sh1"],"Server1":["sh1"]}}`, "N")
		f(`{"N":1,"schema":{"columns":["Stud_id","x'y"],"dtypes":["Number","String"]},"shards":[`+shard+`]}`, "x'y")
		f(`{"N":1,"schema":{"columns":["Stud_id","a"],"dtypes":["Number","Blob"]},"shards":[`+shard+`]}`, "Blob")
	})
	c.expect("POST", "/init", sixServers, 200, `{"message":"Configured Database","status":"success"}`)
	c.refuses("POST", "/init", sixServers, 409)
	c.expect("GET", "/status", "", 200, sixServers)

	t.Run("write and read", func(t *testing.T) {
		rows := append(students(0, 3), append(students(4090, 12), students(16380, 4)...)...)
		c.expect("POST", "/write", `{"data":`+list(rows...)+`}`, 200, `{"message":"19 Data entries added","status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":0,"high":16383}}`, 200,
			`{"shards_queried":["sh1","sh2","sh3","sh4"],"data":`+list(rows...)+`,"status":"success"}`)
		c.expect("GET", "/read", `{"Stud_id":{"low":4095,"high":4096}}`, 200,
			`{"shards_queried":["sh1","sh2"],"data":`+list(rows[8], rows[9])+`,"status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":9000,"high":9001}}`, 200, `{"shards_queried":["sh3"],"data":[],"status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":-5,"high":0}}`, 200, `{"shards_queried":["sh1"],"data":`+list(rows[0])+`,"status":"success"}`)
	})
	t.Run("values come back as they went in", func(t *testing.T) {
		odd := []string{
			student(100, `a "quoted" \ back/slash`, "27"), student(101, "ü 漢字 🎓", 27.5), student(102, "", -0.001),
			student(103, "'; DROP TABLE x; --", "1e5"), `{"Stud_id":104,"Stud_name":"big","Stud_marks":12345678901234567890}`,
		}
		c.expect("POST", "/write", `{"data":`+list(odd...)+`}`, 200, `{"message":"5 Data entries added","status":"success"}`)
		code, body, err := call("POST", c.http+"/read", `{"Stud_id":{"low":100,"high":104}}`)
		if err != nil || code != 200 {
			t.Fatal(code, body, err)
		}
		var got struct{ Data []json.RawMessage }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		for i, want := range odd {
			if i >= len(got.Data) || string(got.Data[i]) != want && !sameJSON(string(got.Data[i]), want) {
				t.Errorf("row %d: %s, want %s", i, body, want)
			}
		}
		if !strings.Contains(body, "12345678901234567890") {
			t.Errorf("a large number lost digits: %s", body)
		}
	})
	t.Run("update and delete", func(t *testing.T) {
		c.expect("PUT", "/update", `{"Stud_id":"1","data":`+student(1, "GHI", 30)+`}`, 200, `{"message":"Data entry for Stud_id: 1 updated","status":"success"}`)
		c.expect("PUT", "/update", `{"Stud_id":2,"data":`+student(2, "JKL", "30")+`}`, 200, `{"message":"Data entry for Stud_id: 2 updated","status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":1,"high":2}}`, 200,
			`{"shards_queried":["sh1"],"data":`+list(student(1, "GHI", 30), student(2, "JKL", "30"))+`,"status":"success"}`)
		c.expect("DELETE", "/del", `{"Stud_id":2}`, 200, `{"message":"Data entry with Stud_id:2 removed from all replicas","status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":2,"high":2}}`, 200, `{"shards_queried":["sh1"],"data":[],"status":"success"}`)
		c.refuses("DELETE", "/del", `{"Stud_id":2}`, 404, "2")
		c.refuses("PUT", "/update", `{"Stud_id":2,"data":`+student(2, "x", 1)+`}`, 404, "2")
	})
	t.Run("bad input writes nothing", func(t *testing.T) {
		before := c.rows(t)
		c.refuses("POST", "/write", `{"data":`+list(student(16384, "x", 1))+`}`, 400, "16384")
		c.refuses("POST", "/write", `{"data":`+list(student(50, "x", 1), student(-1, "x", 1))+`}`, 400, "-1")
		c.refuses("POST", "/write", `{"data":`+list(student(50, "x", 1), student(50, "y", 1))+`}`, 409, "50")
		c.refuses("POST", "/write", `{"data":[{"Stud_id":50,"Stud_name":"x"}]}`, 400, "Stud_marks")
		c.refuses("POST", "/write", `{"data":[{"Stud_id":50,"Stud_name":"x","Stud_marks":1,"extra":2}]}`, 400, "extra")
		c.refuses("POST", "/write", `{"data":[{"Stud_id":"fifty","Stud_name":"x","Stud_marks":1}]}`, 400, "Stud_id")
		c.refuses("POST", "/write", `{"data":[{"Stud_id":1.5,"Stud_name":"x","Stud_marks":1}]}`, 400, "Stud_id")
		c.refuses("POST", "/write", `{"data":[{"Stud_id":50,"Stud_name":{"a":1},"Stud_marks":1}]}`, 400, "Stud_name")
		c.refuses("POST", "/write", `{"rows":[]}`, 400, "data")
		c.refuses("POST", "/write", `{"data":"x"}`, 400, "data")
		c.refuses("PUT", "/update", `{"Stud_id":1,"data":`+student(3, "x", 1)+`}`, 400, "Stud_id")
		c.refuses("PUT", "/update", `{"Stud_id":99999,"data":`+student(99999, "x", 1)+`}`, 400, "99999")
		c.refuses("POST", "/read", `{"Stud_id":{"low":9,"high":8}}`, 400, "low")
		c.refuses("POST", "/read", `{"Stud_id":{"low":"a","high":8}}`, 400, "low")
		c.refuses("POST", "/read", `{}`, 400, "Stud_id")
		c.refuses("DELETE", "/del", `{}`, 400, "Stud_id")
		c.refuses("DELETE", "/del", `[1]`, 400)
		if after := c.rows(t); after != before {
			t.Errorf("rows changed:\n%s\n%s", before, after)
		}
	})
	t.Run("a duplicate keeps its whole shard's part out", func(t *testing.T) {
		code, body, err := call("POST", c.http+"/write", `{"data":`+list(student(60, "new", 1), student(1, "again", 1), student(4200, "other shard", 1))+`}`)
		if err != nil || code != 409 {
			t.Fatal(code, body, err)
		}
		var got struct {
			Status string
			Shards map[string]struct {
				Outcome string
				Keys    []int64
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Status != "failure" ||
			got.Shards["sh1"].Outcome != "duplicate" || !slices.Equal(got.Shards["sh1"].Keys, []int64{1}) || got.Shards["sh2"].Outcome != "done" {
			t.Errorf("%s", body)
		}
		c.expect("POST", "/read", `{"Stud_id":{"low":60,"high":60}}`, 200, `{"shards_queried":["sh1"],"data":[],"status":"success"}`)
		c.expect("POST", "/read", `{"Stud_id":{"low":4200,"high":4200}}`, 200, `{"shards_queried":["sh2"],"data":`+list(student(4200, "other shard", 1))+`,"status":"success"}`)
	})
	t.Run("read of one server and the one that answers", func(t *testing.T) {
		code, body, err := call("GET", c.http+"/read/Server1", "")
		if err != nil || code != 200 {
			t.Fatal(code, body, err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != 3 || got["sh3"] == nil || got["sh4"] == nil {
			t.Errorf("/read/Server1: %s", body)
		}
		c.refuses("GET", "/read/Nobody", "", 404, "Nobody")
		code, body, err = call("GET", c.http+"/primary_elect", `{"shard":"sh1"}`)
		var primary struct{ Primary, Status string }
		if err != nil || code != 200 || json.Unmarshal([]byte(body), &primary) != nil || primary.Status != "success" ||
			!slices.Contains([]string{"Server0", "Server3", "Server5"}, primary.Primary) {
			t.Errorf("/primary_elect: %d %s %v", code, body, err)
		}
		c.refuses("GET", "/primary_elect", `{"shard":"sh9"}`, 404, "sh9")
	})
	t.Run("add and rm", func(t *testing.T) {
		c.refuses("POST", "/add", `{"n":3,"servers":{"Server7":["sh1"],"Server8":["sh2"]}}`, 400, "Number of new servers (n) is greater than newly added instances")
		c.refuses("POST", "/add", `{"n":1,"servers":{"Server7":["sh9"]}}`, 400, "sh9")
		c.refuses("POST", "/add", `{"n":1,"servers":{"Server0":["sh1"]}}`, 400, "Server0")
		c.refuses("POST", "/add", `{"n":1,"new_shards":[{"Stud_id_low":100,"Shard_id":"sh5","Shard_size":1}],"servers":{"Server7":["sh5"]}}`, 400, "sh5")
		code, body, err := call("POST", c.http+"/add", `{"n":2,"new_shards":[{"Stud_id_low":16384,"Shard_id":"sh5","Shard_size":4096}],"servers":{"Server7":["sh3","sh5"],"Server[5]":["sh2","sh5"]}}`)
		added := regexp.MustCompile(`"Add Server:7 and Server:(\d+)"`).FindStringSubmatch(body)
		if err != nil || code != 200 || added == nil || !strings.Contains(body, `"N":8`) || !strings.Contains(body, `"successful"`) {
			t.Fatalf("/add: %d %s %v", code, body, err)
		}
		c.expect("POST", "/write", `{"data":`+list(student(16384, "in sh5", 1))+`}`, 200, `{"message":"1 Data entries added","status":"success"}`)
		code, body, err = call("GET", c.http+"/read/Server7", "")
		if err != nil || code != 200 || !strings.Contains(body, "in sh5") || !strings.Contains(body, `"sh3"`) {
			t.Errorf("/read/Server7: %d %s %v", code, body, err)
		}
		c.refuses("DELETE", "/rm", `{"n":1,"servers":["Server0","Server1"]}`, 400, "Length of server list is more than removable instances")
		c.refuses("DELETE", "/rm", `{"n":1,"servers":["Nobody"]}`, 400, "Nobody")
		c.refuses("DELETE", "/rm", `{"n":9,"servers":[]}`, 400)
		c.refuses("DELETE", "/rm", `{"n":3,"servers":["Server0","Server3","Server5"]}`, 400, "sh1") // its last copies
		c.expect("DELETE", "/rm", `{"n":1,"servers":["Server7"]}`, 200, `{"message":{"N":7,"servers":["Server7"]},"status":"successful"}`)
		c.refuses("DELETE", "/rm", fmt.Sprintf(`{"n":1,"servers":["Server%s"]}`, added[1]), 400, "sh5") // now the last copy
		c.expect("POST", "/read", `{"Stud_id":{"low":16384,"high":16384}}`, 200, `{"shards_queried":["sh5"],"data":`+list(student(16384, "in sh5", 1))+`,"status":"success"}`)
	})
	t.Run("the HTTP service beside it", func(t *testing.T) {
		if names, err := c.rep(); err != nil || len(names) != 3 {
			t.Errorf("/rep: %v %v", names, err)
		}
		if code, body, err := call(http.MethodGet, c.http+"/home", ""); err != nil || code != 200 {
			t.Errorf("/home: %d %s %v", code, body, err)
		}
	})
	c.agrees()
}

// A killed shard server is replaced under another name, takes over the data of
// the dead one, and nothing is missing; reads and writes go on meanwhile.
func TestUp_KilledShardServerIsReplacedOnItsData(t *testing.T) {
	t.Parallel()
	c := database(t)
	killedShardServer(c, "Server0", func() { c.kill(c.shardServer("Server0").PID, syscall.SIGKILL) })
}

func (c *cluster) shardServer(name string) events.InstanceReport {
	c.t.Helper()
	lines, err := c.ps()
	if err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(lines, func(l events.InstanceReport) bool { return l.Name == name })
	if i < 0 || lines[i].PID == 0 {
		c.t.Fatalf("no process of %s in %+v", name, lines)
	}
	return lines[i]
}

// What was written is there after everything was stopped and started again.
func TestUp_DatabaseSurvivesARestart(t *testing.T) {
	t.Parallel()
	c := database(t)
	c.expect("POST", "/write", `{"data":`+list(students(4000, 200)...)+`}`, 200, `{"message":"200 Data entries added","status":"success"}`)
	restartKeepsRows(c)
}
