package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

// database is one with something of everything that can happen to a shard.
func database() events.Status {
	return events.Status{Controller: "c", Since: time.Now().Add(-90*time.Minute - 10*time.Second), Tables: []events.TableStatus{{Name: "StudT", Schema: courseSchema(), Epoch: events.Epoch{Incarnation: "k3v9", Revision: 9}, Servers: make([]events.Placement, 3), Shards: []events.ShardStatus{
		{Table: "StudT", Shard: "sh1", Low: 0, Size: 4096, Incarnation: "k1", Eager: "Server0", LastSeq: 1042, Replicas: []events.ReplicaReport{
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
	code, out, errs := run(t, statusOf(database()).wiring(), "shards")
	if code != ExitOK || errs != "" {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	golden(t, "shards.txt", out)
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 81 {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
	code, out, errs = run(t, statusOf(events.Status{}).wiring(), "shards")
	if code != ExitOK || out != "" || errs != "there is no database; make one with 'ringway init'\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
}

func TestShards_JSONIsAnArray(t *testing.T) {
	for _, st := range []events.Status{{}, database()} {
		_, out, errs := run(t, statusOf(st).wiring(), "shards", "-o", "json")
		var got []map[string]any
		if err := json.Unmarshal([]byte(out), &got); err != nil || got == nil || len(got) != len(shardsOf(st)) || errs != "" {
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

// recovering is a cluster with that database, whose leader takes the order.
func recovering(st events.Status, refusal error) (*cluster, *[]events.RecoverRequest) {
	var got []events.RecoverRequest
	return &cluster{answer: func(verb string, req, out any) error {
		if verb == events.APIStatus {
			*out.(*events.Status) = st
			return nil
		}
		got = append(got, req.(events.RecoverRequest))
		*out.(*events.RecoverReply) = events.RecoverReply{Table: "StudT", Shard: "sh2", Server: "Server3",
			Log: events.ShardLog{Shard: "sh2", Incarnation: "k9", Origin: &events.Position{Seq: 1000003}}}
		return refusal
	}}, &got
}

func TestRecover(t *testing.T) {
	c, got := recovering(database(), nil)
	code, out, errs := run(t, c.wiring(), "shards", "recover", "StudT.sh2", "--yes", "--force")
	if code != ExitOK || out != "StudT.sh2 continues Server3 from seq 1000004\n" {
		t.Errorf("code %d, stdout %q", code, out)
	}
	golden(t, "recover.txt", errs)
	if len(*got) != 1 || (*got)[0].ID == "" || (*got)[0].Table != "StudT" || (*got)[0].Shard != "sh2" || !(*got)[0].Force {
		t.Errorf("asked %+v", *got)
	}
}

func TestRecover_SaysWhatIsGivenUp(t *testing.T) {
	f := func(want string, log *events.LogState) {
		t.Helper()
		if said := atStake(database().Tables[0].Shards[1], log); !strings.Contains(said, want) {
			t.Errorf("got %s, want %s", said, want)
		}
	}
	f("The log that they followed is gone. What only", nil)
	f("The old log is deleted, and with it the batches 1000004 to 1000010, which no replica has. What only", &events.LogState{Last: 1000010})
	f("The old log, which ends at 999990, is deleted. What only", &events.LogState{Last: 999990})
	f("The old log is deleted. What only", &events.LogState{Last: 1000003})
}

func TestRecover_NothingWithoutAnOrder(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		c, asked := recovering(database(), events.Refuse(409, "Server0 is ready"))
		got, out, errs := run(t, c.wiring(), append([]string{"shards", "recover"}, args...)...)
		if got != code || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %d, %q", args, got, out, errs, code, want)
		}
		if code != ExitRefused && len(*asked) > 0 {
			t.Errorf("%v: asked %+v", args, *asked)
		}
	}
	f(ExitUsage, "say --yes", "StudT.sh2")
	f(ExitUsage, `"sh2" is no TABLE.SHARD`, "sh2", "--yes")
	f(ExitUsage, `"StudT.../x" is no TABLE.SHARD`, "StudT.../x", "--yes")
	f(ExitFailed, "there is no shard StudT.sh9", "StudT.sh9", "--yes")
	f(ExitRefused, "Server0 is ready", "StudT.sh2", "--yes")
}

func TestSaidYes(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, "YES\n": true, "": false, "\n": false, "y": false, "no\n": false, "yep\n": false} {
		if got := saidYes(strings.NewReader(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
