package controller

import (
	"testing"

	"ringway/events"
)

// A request with something that this leader does not know is refused, not half
// carried out.
func TestVerbs_RefuseUnknownFields(t *testing.T) {
	verbs := newSim(t, webConfig(3), "h1").p.Verbs()
	f := func(verb, body, want string) {
		t.Helper()
		_, err := verbs[verb]([]byte(body))
		if got := ""; err != nil && err.Error() != want || err == nil && got != want {
			t.Errorf("%s %s: got %v, want %q", verb, body, err, want)
		}
	}
	f(events.APIAdd, `{"n":1,"hostname":["a"]}`, `hostname is unknown; did you mean "hostnames"?`)
	f(events.APIRemove, `{"n":1,"servers":["a"]}`, `servers is unknown; use id, service, n, hostnames`)
	f(events.APIRemove, `{"n":1,"n":2}`, "n is given twice")
	f(events.APIInit, `{"n":1,"table":{"name":"T","shards":[{"id":"a","lo":1}]}}`, `table.shards[0].lo is unknown; did you mean "low"?`)
	f(events.APIAddServers, `{"n":1,"servers":[{"name":"a","shard":["s"]}]}`, `servers[0].shard is unknown; did you mean "shards"?`)
	f(events.APIRemoveServers, `{"n":1,"server":["a"]}`, `server is unknown; did you mean "servers"?`)
	f(events.APIRecover, `{"shard":"a","forced":true}`, `forced is unknown; did you mean "force"?`)
	f(events.APIStatus, `{"service":"web"}`, "service is unknown")
	f(events.APIStatus, ``, "")
	f(events.APIStatus, `{}`, "")
	f(events.APIAdd, `nothing`, "the body is no JSON object")
}
