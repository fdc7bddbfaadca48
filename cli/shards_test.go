package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/cli/console"
	"ringway/events"
	"ringway/events/shardlog"
)

// database is one with something of everything that can happen to a shard.
func database() events.Status {
	return events.Status{Controller: "c", Since: time.Now().Add(-90*time.Minute - 10*time.Second), Tables: []events.TableStatus{{Name: "StudT", Schema: config.CourseSchema(), Epoch: events.Epoch{Incarnation: "k3v9", Revision: 9}, Servers: make([]events.Placement, 3), Shards: []events.ShardStatus{
		{Table: "StudT", Shard: "sh1", Low: 0, Size: 4096, Incarnation: "k1", Responder: "Server0", LastSeq: 1042, Replicas: []events.ReplicaReport{
			{Server: "Server0", Host: "host-1", State: events.ReplicaReady, AppliedSeq: 1042, DurableSeq: 1000},
			{Server: "Server58127", Host: "host-2", State: events.ReplicaCatchingUp, AppliedSeq: 17},
			{Server: "Server3", State: events.Pending},
		}},
		{Table: "StudT", Shard: "sh2", Low: 4096, Size: 4096, Incarnation: "k2", LastSeq: 1000000, Replicas: []events.ReplicaReport{
			{Server: "Server0", Host: "host-1", State: events.ReplicaHalted, AppliedSeq: 999999, Detail: "apply 1000000: \x1b[31mdisk full"},
			{Server: "Server3", Host: "host-2", State: events.ReplicaQuarantined, AppliedSeq: 1000003},
		}},
		{Table: "StudT", Shard: "sh3", Low: -8192, Size: 12},
	}}}}
}

func TestShards(t *testing.T) {
	st := database()
	st.Tables[0].Shards[0].Replicas[2] = events.ReplicaReport{Server: "Server3", State: events.Silent, AppliedSeq: 3, Detail: "it was ready when it was last heard"}
	c := statusOf(st)
	c.log = &shardlog.LogState{First: 1, Last: 1000000}
	code, out, errs := run(t, c.wiring(), "shards")
	if code != console.ExitOK || errs != "" {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	golden(t, "shards.txt", out)
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "shards recover") && len([]rune(line)) > 81 {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
	code, out, errs = run(t, statusOf(events.Status{}).wiring(), "shards")
	if code != console.ExitOK || out != "" || errs != "there is no database; make one with 'ringway init'\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
}

// What the leader knows of a log's end may be a heartbeat old.
func TestShards_AsksTheBusWhereLogsEnd(t *testing.T) {
	c := statusOf(database())
	c.log = &shardlog.LogState{First: 1, Last: 77}
	_, out, _ := run(t, c.wiring(), "shards", "-o", "json")
	var got []events.ShardStatus
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	for _, s := range got {
		if s.LastSeq != 77 {
			t.Errorf("%s ends at %d", s.Shard, s.LastSeq)
		}
	}
	c.log = nil
	if _, out, _ = run(t, c.wiring(), "shards"); !strings.Contains(out, " none  Server0 ") {
		t.Errorf("no log is missing in\n%s", out)
	}
}

func TestShards_JSONIsAnArray(t *testing.T) {
	for _, st := range []events.Status{{}, database()} {
		_, out, errs := run(t, statusOf(st).wiring(), "shards", "-o", "json")
		var got []map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil || got == nil || len(got) != len(client.ShardsOf(st)) || errs != "" {
			t.Fatalf("%v: %s%s", err, out, errs)
		}
		for _, s := range got {
			for _, key := range []string{"table", "shard", "low", "size", "last_seq", "incarnation"} {
				if _, ok := s[key]; !ok {
					t.Errorf("no %s in %v", key, s)
				}
			}
			replicas, ok := s["replicas"].([]any)
			if !ok {
				t.Fatalf("replicas of %v are no array", s)
			}
			for _, r := range replicas {
				for _, key := range []string{"server", "host", "state", "applied_seq"} {
					if _, ok := r.(map[string]any)[key]; !ok {
						t.Errorf("no %s in %v", key, r)
					}
				}
			}
		}
	}
}
