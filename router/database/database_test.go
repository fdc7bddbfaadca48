package database

import (
	"encoding/json"
	"testing"

	"ringway/events"
	"ringway/events/strictjson"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"N":1,"schema":{"columns":["id"],"dtypes":["Number"]},"shards":[{"id_low":0,"Shard_id":"a","Shard_size":1}],"servers":{"S0":["a"],"S[1]":[]}}`,
		`{"n":1,"servers":{"S0":["a"]},"new_shards":[{"id_low":5,"Shard_id":"b","Shard_size":1}]}`, `{"n":1,"servers":["S0"]}`,
		`{"id":{"low":1,"high":2}}`, `{"id":"5"}`, `{`, `{"servers":{"a":{}}}`,
	} {
		f.Add([]byte(s))
	}
	table := events.Table{Name: "T", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}, Shards: []events.Shard{{ID: "a", Size: 5}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		if req, err := parseInit(body); err == nil && (!json.Valid(body) || req.Table.Validate() != nil) {
			t.Errorf("%q was read as %+v", body, req)
		}
		if Concerns(body) && !json.Valid(body) {
			t.Errorf("%q concerns the database", body)
		}
		for _, parse := range []func(strictjson.Object){
			func(o strictjson.Object) { _, _ = parseAdd(&table, o) },
			func(o strictjson.Object) { _, _ = parseRemove("T", o) },
			func(o strictjson.Object) { o.Key("id", true) },
		} {
			o, err := strictjson.Parse(body)
			if err != nil {
				return
			}
			parse(o)
		}
	})
}
