package database_test

import (
	"strings"
	"testing"
)

// What is not understood is refused, and nothing is done: not the answer to
// another question.
func TestDatabase_RefusesWhatItDoesNotUnderstand(t *testing.T) {
	c := configured(t)
	f := c.router(nil)
	row := func(id string) string { return `{"Stud_id":` + id + `,"Stud_name":"a","Stud_marks":1}` }
	bad := func(call, body, message string, header ...string) {
		t.Helper()
		method, path, _ := strings.Cut(call, " ")
		f.want(method, path, body, 400, failure(message), header...)
	}
	const schema = `"schema":{"columns":["Stud_id","Stud_name"],"dtypes":["Number","String"]}`
	const shards = `"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096}]`
	init := `{"N":3,` + schema + `,` + shards + `}`
	change := func(body, from, to string) string { return strings.Replace(body, from, to, 1) }
	bad("POST /init", change(init, `"shards"`, `"shard"`), `shard is unknown; did you mean "shards"?`)
	bad("POST /init", change(init, `"N":3`, `"N":3,"replica":2`), `replica is unknown; did you mean "replicas"?`)
	bad("POST /init", change(init, `"N":3`, `"N":3,"n":2`), "N, also as n, is given twice")
	bad("POST /init", change(init, `"dtypes"`, `"types"`), `schema.types is unknown; did you mean "dtypes"?`)
	bad("POST /init", change(init, `"Shard_size"`, `"Shard_len":9,"Shard_size"`), `shards[0]: Shard_len is unknown; use Shard_id, Stud_id_low, Shard_size`)
	bad("POST /init", change(init, `"Shard_size"`, `"Shard_size":1,"Shard_size"`), "shards[0]: Shard_size is given twice")

	bad("POST /add", `{"n":1,"servers":{"Server4":["sh1"]},"shards":[]}`, `shards is unknown; use n, hostnames, servers, new_shards, table`)
	bad("DELETE /rm", `{"n":1,"servers":["Server2"],"servers":["Server1"]}`, "servers is given twice")
	bad("DELETE /rm", `{"table":"StudT","n":1}`, "table StudT: servers is missing; [] takes any")
	bad("DELETE /rm", `{"n":1,"server":["Server2"]}`, `server is unknown; did you mean "servers"?`)
	bad("DELETE /rm", `{"n":1,"shards":["sh1"]}`, `shards is unknown; use n, hostnames, servers, new_shards, table`)

	bad("POST /read", `{"Stud_id":{"low":1,"high":5},"Stud_marks":{"low":1,"high":5}}`, `Stud_marks is unknown; use table, Stud_id, limit, after`)
	bad("POST /read", `{"Stud_id":{"low":1,"high":5},"Stud_id":{"low":6,"high":7}}`, "Stud_id is given twice")
	bad("POST /read", `{"Stud_id":{"low":1,"high":5,"hihg":9}}`, `Stud_id.hihg is unknown; did you mean "high"?`)
	bad("POST /write", `{"data":[`+row("1")+`],"data":[`+row("2")+`]}`, "data is given twice")
	bad("POST /write", `{"data":[`+row("1")+`],"tabel":"other"}`, `tabel is unknown; did you mean "table"?`)
	bad("PUT /update", `{"Stud_id":1,"data":`+row("1")+`,"if":{"Stud_marks":1}}`, `if is unknown; use table, Stud_id, data`)
	bad("PUT /update", `{"Stud_id":1,"data":`+row("1")+`,"Data":`+row("1")+`}`, "data, also as Data, is given twice")
	bad("DELETE /del", `{"Stud_id":1,"Stud_name":"a"}`, `Stud_name is unknown; use table, Stud_id`)
	bad("GET /primary_elect", `{"shard":"sh1","shad":"sh2"}`, `shad is unknown; did you mean "shard"?`)

	for _, call := range []string{"POST /write", "PUT /update", "DELETE /del"} {
		for _, field := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
			bad(call, `{}`, field+": tables have no conditional requests; nothing was done", field, "*")
		}
	}
	bad("POST /init", init, "Idempotency-Key is for /write, /update and /del", "Idempotency-Key", "a")
	bad("POST /write?table=other", `{"data":[`+row("1")+`]}`, "table: this call has no query; what it is about is in its body")
	bad("GET /status?tabel=other", "", `tabel is unknown; did you mean "table"?`)
	bad("GET /status?table=StudT&table=other", "", `table is given twice`)
	bad("GET /status", `{"table":"other"}`, `this call has no body; its parameters are in the query: ["table"]`)
	bad("GET /primary_elect?shard=sh1&Shard=sh2", "", `Shard is unknown; did you mean "shard"?`)

	// Names of fields compare without case.
	f.want("POST", "/write", `{"Data":[`+row("1")+`],"TABLE":"StudT"}`, 200, `{"message":"1 Data entries added","status":"success"}`)
	f.want("POST", "/read", `{"stud_id":{"Low":0,"High":12287}}`, 200, `{"shards_queried":["sh1","sh2","sh3"],"data":[`+row("1")+`],"status":"success"}`)
	if n := c.timesAsked(); n > 0 {
		t.Errorf("the leader was asked %d times", n)
	}
}
