package write

import (
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/router/database/background"
	"ringway/router/database/catalog"
	"ringway/router/database/shardclient"
	"ringway/router/routes"
)

// tableOf is a table with one shard and no replica.
func tableOf(t *testing.T) *catalog.Table {
	t.Helper()
	route, err := json.Marshal(events.TableRoute{
		Table:  events.Table{Name: "StudT", Schema: events.Schema{Columns: []string{"id"}, DTypes: []string{"Number"}}, Shards: []events.Shard{{ID: "sh1", Size: 10}}},
		Shards: []events.ShardRoute{{Shard: "sh1", Log: events.ShardLog{Shard: "sh1", Incarnation: "life1"}}},
	})
	testkit.Must(t, err)
	c := catalog.New(shardclient.DefaultConfig(), &background.Group{}, prometheus.NewRegistry(), testkit.Quiet)
	testkit.Must(t, c.Remember("StudT", routes.Known{Route: route}))
	return c.Tables().Unnamed()
}

func TestJudge_PutsWhatIsNotKnownFirst(t *testing.T) {
	table := tableOf(t)
	f := func(want int, codes ...int) {
		t.Helper()
		outcomes := make([]outcome, len(codes))
		parts := make([]part, len(codes))
		for i, code := range codes {
			outcomes[i] = outcome{Outcome: "x", code: code}
			parts[i].shard = table.Shards[0]
		}
		if got, _ := judge(table, parts, outcomes); got != want {
			t.Errorf("%v: got %d, want %d", codes, got, want)
		}
	}
	f(200, 200, 200)
	f(504, 200, 503, 504, 409)
	f(503, 413, 503, 409)
	f(413, 409, 413, 200)
	f(422, 409, 422)
	f(409, 404, 409)
	f(404, 200, 404)
	f(400, 400, 200)
}

func TestJudge_SaysThatNothingWasWrittenOnlyIfNothingWas(t *testing.T) {
	table := tableOf(t)
	away := outcome{Outcome: notWritten, Detail: "the log of shard sh1 takes no writes now; nothing was written", code: 503, unwritten: true}
	done := outcome{Outcome: string(shardlog.Done), code: 200}
	lost := outcome{Outcome: unknown, Detail: "ask GET /v1/ops/x", code: 504}
	missing := outcome{Outcome: string(shardlog.Missing), Keys: []int64{5}, code: 404}
	f := func(want string, outcomes ...outcome) {
		t.Helper()
		parts := make([]part, len(outcomes))
		for i := range parts {
			parts[i].shard = table.Shards[0]
		}
		if _, got := judge(table, parts, outcomes); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const closed = "the log of shard sh1 takes no writes now"
	f(closed+"; nothing was written", away)
	f("1 of 2 shards written: "+closed, away, done)
	f("0 of 2 shards written: "+closed+"; "+closed+"; nothing was written", away, away)
	f("0 of 2 shards written: "+closed+"; id: 5 is not there; nothing was written", away, missing)
	f("0 of 2 shards written: shard sh1: the outcome is unknown; ask GET /v1/ops/x; "+closed, lost, away)
	f("0 of 2 shards written: id: 5 is not there; id: 5 is not there", missing, missing)
}
