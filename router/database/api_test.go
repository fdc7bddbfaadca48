package database_test

import (
	"testing"
)

// The happy path of SPEC.md, section 2, request by request.
func TestDatabase_WritesReadsUpdatesAndRemoves(t *testing.T) {
	f := configured(t).router(nil)
	const two = `[{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":27},{"Stud_id":8888,"Stud_name":"XYZ","Stud_marks":"56"}]`
	f.want("POST", "/write", `{"data":`+two+`}`, 200, `{"message":"2 Data entries added","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":1000,"high":8889}}`, 200,
		`{"shards_queried":["sh1","sh2","sh3"],"data":`+two+`,"status":"success"}`)
	f.want("GET", "/read", `{"Stud_id":{"low":1000,"high":8889}}`, 200,
		`{"shards_queried":["sh1","sh2","sh3"],"data":`+two+`,"status":"success"}`)
	f.want("PUT", "/update", `{"Stud_id":"2255","data":{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":30}}`, 200,
		`{"message":"Data entry for Stud_id: 2255 updated","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2255,"high":2255}}`, 200,
		`{"shards_queried":["sh1"],"data":[{"Stud_id":2255,"Stud_name":"GHI","Stud_marks":30}],"status":"success"}`)
	f.want("DELETE", "/del", `{"Stud_id":2255}`, 200,
		`{"message":"Data entry with Stud_id:2255 removed from all replicas","status":"success"}`)
	f.want("POST", "/read", `{"Stud_id":{"low":2255,"high":2255}}`, 200, `{"shards_queried":["sh1"],"data":[],"status":"success"}`)
	f.want("GET", "/read/Server1", "", 200,
		`{"sh2":[],"sh3":[{"Stud_id":8888,"Stud_name":"XYZ","Stud_marks":"56"}],"status":"success"}`)
	f.want("GET", "/primary_elect", `{"shard":"sh1"}`, 200, `{"primary":"Server0","status":"success"}`)
	f.want("GET", "/primary_elect?shard=sh3", "", 200, `{"primary":"Server1","status":"success"}`)
}
