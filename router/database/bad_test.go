package database_test

import (
	"fmt"
	"strings"
	"testing"

	"ringway/events"
)

// Bad input: what a router decides by itself. The
// leader is not asked, and nothing is written.
func TestDatabase_RefusesBadInput(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	f.want("POST", "/write", `{"data":`+rows(1, 1)+`}`, 200, `{"message":"1 Data entries added","status":"success"}`)
	bad := func(method, path, body string, code int, message string) {
		t.Helper()
		f.want(method, path, body, code, failure(message))
	}
	for _, call := range []string{"POST /init", "POST /read", "POST /write", "PUT /update", "DELETE /del"} {
		method, path, _ := strings.Cut(call, " ")
		bad(method, path, ``, 400, "the body is no JSON object")
		bad(method, path, `[1]`, 400, "the body is no JSON object")
		bad(method, path, `null`, 400, "the body is no JSON object")
		bad(method, path, `{"N":1} 2`, 400, "the body goes on after the JSON object")
		bad(method, path, `{"table":1,"N":1,"schema":{"columns":["a"],"dtypes":["Number"]},"shards":[]}`, 400, "table is not a string")
		if path != "/init" {
			bad(method, path, `{"table":"other"}`, 404, `table "other" does not exist; there is StudT`)
		}
	}

	init := func(body string, message string) {
		t.Helper()
		bad("POST", "/init", body, 400, message)
	}
	const columns = `"schema":{"columns":["Stud_id","Stud_name"],"dtypes":["Number","String"]}`
	const one = `"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096}]`
	shards := func(list string) string { return `{"N":3,` + columns + `,"shards":[` + list + `]}` }
	init(`{`+columns+`,`+one+`}`, "N is missing")
	init(`{"N":"3",`+columns+`,`+one+`}`, "N is not an integer")
	init(`{"N":1.5,`+columns+`,`+one+`}`, "N is not an integer")
	init(`{"N":0,`+columns+`,`+one+`}`, "N is 0; it must be at least 1")
	init(`{"N":3,`+one+`}`, "schema is missing")
	init(`{"N":3,"schema":[],`+one+`}`, "schema is not an object")
	init(`{"N":3,"schema":{"columns":["a"]},`+one+`}`, "schema.dtypes is missing")
	init(`{"N":3,"schema":{"columns":"a","dtypes":[]},`+one+`}`, "schema.columns is not a list")
	init(`{"N":3,"schema":{"columns":["a",2],"dtypes":[]},`+one+`}`, "schema.columns[1] is not a string")
	init(`{"N":3,"schema":{"columns":["a","b"],"dtypes":["Number"]},`+one+`}`, "dtypes: 1 for 2 columns")
	init(`{"N":3,"schema":{"columns":["a","A"],"dtypes":["Number","String"]},`+one+`}`, "columns: A is there twice (upper and lower case are one)")
	init(`{"N":3,"schema":{"columns":["a"],"dtypes":["String"]},`+one+`}`, "dtypes: the first column, a, is the key and has to be a Number")
	init(`{"N":3,"schema":{"columns":["a","b; DROP"],"dtypes":["Number","String"]},`+one+`}`,
		`columns: "b; DROP" is no identifier; use 1 to 48 letters, digits or '_', beginning with a letter`)
	init(`{"N":3,"schema":{"columns":["a","b"],"dtypes":["Number","Date"]},`+one+`}`, `dtypes: "Date" of b is unknown; use Number or String`)
	init(`{"N":3,`+columns+`}`, "shards is missing")
	init(shards(``), "shards: missing")
	init(`{"N":3,`+columns+`,"shards":{}}`, "shards is not a list")
	init(shards(`1`), "shards[0] is not an object")
	init(shards(`{"Stud_id_low":0,"Shard_size":4096}`), "shards[0]: Shard_id is missing")
	init(shards(`{"Stud_id_low":0,"Shard_id":1,"Shard_size":4096}`), "shards[0]: Shard_id is not a string")
	init(shards(`{"Shard_id":"sh1","Shard_size":4096}`), "shards[0]: Stud_id_low is missing")
	init(shards(`{"Stud_id_low":0,"Shard_id":"sh1"}`), "shards[0]: Shard_size is missing")
	init(shards(`{"Stud_id_low":"0","Shard_id":"sh1","Shard_size":4096}`), `shards[0]: Stud_id_low: "0" is no integer`)
	init(shards(`{"Stud_id_low":0.5,"Shard_id":"sh1","Shard_size":4096}`), "shards[0]: Stud_id_low: 0.5 is no 64-bit integer")
	init(shards(`{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":0}`), "shard sh1: size 0 is not positive")
	init(shards(`{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":-1}`), "shard sh1: size -1 is not positive")
	init(shards(`{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":9},{"Stud_id_low":9,"Shard_id":"sh1","Shard_size":9}`),
		"shards: sh1 is defined twice (upper and lower case are one)")
	init(shards(`{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":9},{"Stud_id_low":8,"Shard_id":"sh2","Shard_size":9}`), "shards: sh1 and sh2 overlap")
	placed := func(servers string) string { return `{"N":1,` + columns + `,` + one + `,"servers":` + servers + `}` }
	init(placed(`[]`), "servers is not an object")
	init(placed(`"x"`), "servers is not an object")
	init(placed(`{"Server0":"sh1"}`), "servers.Server0 is not a list")
	init(placed(`{"Server0":null}`), "servers.Server0 is not a list")
	init(placed(`{"Server0":[1]}`), "servers.Server0[0] is not a string")
	init(placed(`{"Server0":["sh1","sh1"]}`), "servers.Server0 names shard sh1 twice")
	init(placed(`{"Server0":["sh9"]}`), `servers: Server0 shall keep shard "sh9", which is not defined`)
	init(placed(`{"Server[1]":["sh9"]}`), `servers: a server shall keep shard "sh9", which is not defined`)
	init(placed(`{"Server0":["sh1"],"Server1":["sh1"]}`), "servers: 2 are named, but N is 1")
	init(strings.Replace(placed(`{"Server0":["sh1"],"Server0":["sh1"]}`), `"N":1`, `"N":2`, 1), "servers: Server0 is named twice")
	init(placed(`{"Server 0":["sh1"]}`), "servers: "+events.ValidName("Server 0").Error())

	for _, call := range []string{"POST /add", "DELETE /rm"} {
		method, path, _ := strings.Cut(call, " ")
		servers := map[string]string{"POST": `{"Server4":["sh1"]}`, "DELETE": `["Server2"]`}[method]
		bad(method, path, `{"servers":`+servers+`}`, 400, "n is missing")
		bad(method, path, `{"n":"1","servers":`+servers+`}`, 400, "n is not an integer")
		bad(method, path, `{"n":0,"servers":`+servers+`}`, 400, "n is 0; it must be at least 1")
		bad(method, path, `{"n":-1,"servers":`+servers+`}`, 400, "n is -1; it must be at least 1")
		bad(method, path, `{"n":1,"table":"other","servers":`+servers+`}`, 404, `table "other" does not exist; there is StudT`)
	}
	add := func(body, message string) { t.Helper(); bad("POST", "/add", body, 400, message) }
	add(`{"n":3,"servers":{"Server4":["sh1"]}}`, "Number of new servers (n) is greater than newly added instances")
	add(`{"n":1,"servers":{"Server4":["sh1"],"Server5":["sh1"]}}`, "servers: 2 are named, but n is 1")
	add(`{"n":1,"hostnames":["x"],"servers":{"Server4":["sh1"]}}`,
		"hostnames is for the HTTP service, servers and new_shards are for the database; use one of them")
	add(`{"n":1,"servers":{"Server4":["sh9"]}}`, `servers: Server4 shall keep shard "sh9", which is not defined`)
	add(`{"n":1,"servers":{"Server4":[]},"new_shards":[{"Stud_id_low":4000,"Shard_id":"sh9","Shard_size":10}]}`, "shards: sh1 and sh9 overlap")
	add(`{"n":1,"servers":{"Server4":[]},"new_shards":[{"Stud_id_low":40000,"Shard_id":"sh1","Shard_size":10}]}`,
		"shards: sh1 is defined twice (upper and lower case are one)")
	add(`{"n":1,"servers":{"Server4":[]},"new_shards":[{"Stud_id_low":40000,"Shard_id":"sh9","Shard_size":0}]}`, "shard sh9: size 0 is not positive")
	add(`{"n":1,"servers":{"Server4":[]},"new_shards":{}}`, "new_shards is not a list")
	rm := func(body, message string) { t.Helper(); bad("DELETE", "/rm", body, 400, message) }
	rm(`{"n":1,"servers":["Server0","Server1"]}`, "Length of server list is more than removable instances")
	rm(`{"n":0,"servers":[]}`, "n is 0; it must be at least 1")
	rm(`{"n":2,"servers":["Server0","Server0"]}`, "servers: Server0 is named twice")
	rm(`{"n":2,"servers":{"Server0":[]}}`, "servers is not a list")
	rm(`{"n":2,"servers":[0]}`, "servers[0] is not a string")
	rm(`{"n":1,"servers":["Server0"],"hostnames":["x"]}`, "hostnames is for the HTTP service, servers is for the database; use one of them")

	read := func(body, message string) { t.Helper(); bad("POST", "/read", body, 400, message) }
	read(`{}`, "Stud_id is missing")
	read(`{"Stud_id":5}`, "Stud_id is not an object with low and high")
	read(`{"Stud_id":{"high":5}}`, "Stud_id.low is missing")
	read(`{"Stud_id":{"low":5}}`, "Stud_id.high is missing")
	read(`{"Stud_id":{"low":"a","high":5}}`, `Stud_id.low: "a" is no integer`)
	read(`{"Stud_id":{"low":1.5,"high":5}}`, "Stud_id.low: 1.5 is no 64-bit integer")
	read(`{"Stud_id":{"low":null,"high":5}}`, "Stud_id.low is not an integer")
	read(`{"Stud_id":{"low":6,"high":5}}`, "Stud_id: low 6 is greater than high 5")
	f.want("POST", "/read", `{"Stud_id":{"low":1,"high":5}}`, 400,
		failure(`Ringway-Consistency: "strong" is unknown; use session, eventual or linearizable`), "Ringway-Consistency", "strong")
	bad("GET", "/read/Server9", "", 404, `server "Server9" does not exist`)
	bad("GET", "/primary_elect", "{}", 400, "shard is missing")
	bad("GET", "/primary_elect?shard=sh9", "", 404, `shard "sh9" does not exist`)
	for _, id := range []string{"x", "StudT.sh1", "StudT.sh1.batch", "StudT.sh1.batch.x", "StudT.sh1..0"} {
		if got := f.do("GET", "/v1/ops/"+id, ""); got.code != 400 {
			t.Errorf("op %s: got %d %s", id, got.code, got.body)
		}
	}
	bad("GET", "/v1/ops/StudT.sh9.batch.0", "", 404, `op "StudT.sh9.batch.0": there is no such table or shard`)

	write := func(data, message string) { t.Helper(); bad("POST", "/write", `{"data":`+data+`}`, 400, message) }
	row := func(id string) string { return `{"Stud_id":` + id + `,"Stud_name":"a","Stud_marks":1}` }
	bad("POST", "/write", `{}`, 400, "data is missing")
	write(`{}`, "data is not a list")
	write(`[]`, "data is empty")
	write(`[5]`, `data[0]: row: "5" is no object`)
	write(`[`+row("2")+`,`+row("12288")+`]`, "data[1]: Stud_id: 12288 is outside of every shard")
	write(`[`+row("2")+`,`+row("-1")+`]`, "data[1]: Stud_id: -1 is outside of every shard")
	write(`[`+row(`"2"`)+`]`, `data[0]: Stud_id: "2" is no number`)
	write(`[`+row(`2.5`)+`]`, `data[0]: Stud_id: 2.5 is no 64-bit integer`)
	write(`[{"Stud_id":2,"Stud_name":"a"}]`, "data[0]: Stud_marks: missing")
	write(`[{"Stud_id":2,"Stud_name":"a","Stud_marks":1,"x":1}]`, "data[0]: x: no such column")
	write(`[{"Stud_id":2,"Stud_name":"a","Stud_marks":1,"Stud_marks":2}]`, "data[0]: Stud_marks: given twice")
	write(`[{"Stud_id":2,"Stud_name":"a","Stud_marks":null}]`, "data[0]: Stud_marks: null is neither a number nor a string")
	write(`[{"Stud_id":2,"Stud_name":["a"],"Stud_marks":1}]`, "data[0]: Stud_name: an array is neither a number nor a string")

	update := func(body, message string) { t.Helper(); bad("PUT", "/update", body, 400, message) }
	update(`{"data":`+row("1")+`}`, "Stud_id is missing")
	update(`{"Stud_id":1}`, "data is missing")
	update(`{"Stud_id":true,"data":`+row("1")+`}`, "Stud_id is not an integer")
	update(`{"Stud_id":"x","data":`+row("1")+`}`, "Stud_id is not an integer")
	update(`{"Stud_id":1,"data":`+row("2")+`}`, "data: Stud_id is 2: an update of 1 cannot change it")
	update(`{"Stud_id":1,"data":{"Stud_id":1,"Stud_name":"a"}}`, "data: Stud_marks: missing")
	update(`{"Stud_id":99999,"data":`+row("99999")+`}`, "Stud_id: 99999 is outside of every shard")
	bad("DELETE", "/del", `{}`, 400, "Stud_id is missing")
	bad("DELETE", "/del", `{"Stud_id":[1]}`, 400, "Stud_id is not an integer")
	bad("DELETE", "/del", `{"Stud_id":99999}`, 400, "Stud_id: 99999 is outside of every shard")

	if n := c.timesAsked(); n > 0 {
		t.Errorf("the leader was asked %d times", n)
	}
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":12287}}`, 200, `{"shards_queried":["sh1","sh2","sh3"],"data":`+rows(1, 1)+`,"status":"success"}`)
}

// What only the log decides: the answer has what became of each shard's part.
func TestDatabase_TellsTheOutcomeOfEachShard(t *testing.T) {
	f := configured(t).router(nil)
	f.fill(1, 3)
	failed := func(method, path, body string, code int, message string, shards string) {
		t.Helper()
		got := f.do(method, path, body)
		if got.code != code {
			t.Errorf("%s %s: got %d %s, want %d", path, body, got.code, got.body, code)
			return
		}
		sameJSON(t, withoutOps(t, got.body), fmt.Sprintf(`{"message":%q,"status":"failure","shards":%s}`, "<Error> "+message, shards))
	}
	failed("POST", "/write", `{"data":`+rows(2, 6)+`}`, 409,
		"Stud_id: 2, 3 are in shard sh1 already; none of its rows was written", `{"sh1":{"outcome":"duplicate","keys":[2,3]}}`)
	list := strings.TrimSuffix(rows(3, 4), "]") + "," + strings.TrimPrefix(rows(5000, 5001), "[")
	failed("POST", "/write", `{"data":`+list+`}`, 409, "1 of 2 shards written: Stud_id: 3 is in shard sh1 already; none of its rows was written",
		`{"sh1":{"outcome":"duplicate","keys":[3]},"sh2":{"outcome":"done","rows":2}}`)
	f.want("POST", "/read", `{"Stud_id":{"low":0,"high":9999}}`, 200, `{"shards_queried":["sh1","sh2","sh3"],"data":`+
		strings.TrimSuffix(rows(1, 3), "]")+","+strings.TrimPrefix(rows(5000, 5001), "[")+`,"status":"success"}`)

	// Twice in one write is seen before anything is written anywhere.
	list = strings.TrimSuffix(rows(7, 7), "]") + "," + strings.TrimSuffix(strings.TrimPrefix(rows(7, 8), "["), "]") + "," + strings.TrimPrefix(rows(6000, 6000), "[")
	failed("POST", "/write", `{"data":`+list+`}`, 409, "shard sh1: Stud_id: 7 is there twice in one write; nothing was written",
		`{"sh1":{"outcome":"duplicate","keys":[7],"detail":"Stud_id: 7 is there twice in one write"},"sh2":{"outcome":"not written"}}`)
	f.want("POST", "/read", `{"Stud_id":{"low":6000,"high":6000}}`, 200, `{"shards_queried":["sh2"],"data":[],"status":"success"}`)

	failed("PUT", "/update", `{"Stud_id":9,"data":{"Stud_id":9,"Stud_name":"a","Stud_marks":1}}`, 404, "Stud_id: 9 is not there", `{"sh1":{"outcome":"missing","keys":[9]}}`)
	failed("DELETE", "/del", `{"Stud_id":"9"}`, 404, "Stud_id: 9 is not there", `{"sh1":{"outcome":"missing","keys":[9]}}`)

	// Too much for one op of a shard: nothing of it, nor of the others.
	long := strings.Repeat("x", 60_000)
	var large []string
	for id := 100; id < 116; id++ {
		large = append(large, fmt.Sprintf(`{"Stud_id":%d,"Stud_name":%q,"Stud_marks":1}`, id, long))
	}
	large = append(large, `{"Stud_id":6000,"Stud_name":"a","Stud_marks":1}`)
	got := f.do("POST", "/write", `{"data":[`+strings.Join(large, ",")+`]}`)
	if got.code != 413 || !strings.Contains(got.body, "at most 900000; nothing was written") {
		t.Errorf("got %d %s", got.code, got.body)
	}
	f.want("POST", "/read", `{"Stud_id":{"low":6000,"high":6000}}`, 200, `{"shards_queried":["sh2"],"data":[],"status":"success"}`)
	if got := f.do("POST", "/write", `{"data":`+strings.Repeat(" ", 11<<20)+`[]}`); got.code != 413 {
		t.Errorf("a body of 11 MiB: got %d %s", got.code, got.body)
	}
}
