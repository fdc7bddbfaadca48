package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringway/cli/console"
	"ringway/cli/recovery"
	"ringway/events"
	"ringway/events/shardlog"
)

// recovering is a cluster with that database, whose leader takes the order.
func recovering(st events.Status, statusErr error) (*cluster, *[]events.RecoverRequest) {
	var got []events.RecoverRequest
	c := &cluster{answer: func(verb string, req, out any) error {
		if verb == events.APIStatus {
			*out.(*events.Status) = st
			return nil
		}
		got = append(got, req.(events.RecoverRequest))
		*out.(*events.RecoverReply) = events.RecoverReply{Table: "StudT", Shard: "sh2", Server: "Server3",
			Log: events.ShardLog{Shard: "sh2", Incarnation: "k9", Origin: &events.Position{Seq: 1000003}}}
		return statusErr
	}}
	c.listen = func(subject string, fn func(string, []byte)) (func(), error) {
		for _, s := range st.Tables[0].Shards {
			for _, r := range s.Replicas {
				if events.ShardSubject(r.Server) == subject {
					b := events.ShardHeartbeat{Server: r.Server, Replicas: []events.ReplicaStatus{{Table: s.Table, Shard: s.Shard, State: r.State,
						Applied: events.Position{Incarnation: s.Incarnation, Seq: r.AppliedSeq}}}}
					if s.Shard == "sh2" {
						reports, err := json.Marshal(b)
						fn(subject, reports)
						return func() {}, err
					}
				}
			}
		}
		return func() {}, nil
	}
	return c, &got
}

func TestRecover(t *testing.T) {
	c, got := recovering(database(), nil)
	code, out, errs := run(t, c.wiring(), "shards", "recover", "StudT.sh2", "--yes", "--force")
	if code != console.ExitOK || out != "StudT.sh2 continues Server3 from seq 1000004\n" {
		t.Errorf("code %d, stdout %q", code, out)
	}
	golden(t, "recover.txt", errs)
	if len(*got) != 1 || (*got)[0].ID == "" || (*got)[0].Table != "StudT" || (*got)[0].Shard != "sh2" || !(*got)[0].Force {
		t.Errorf("asked %+v", *got)
	}
}

// A batch that was stored just now, or a heartbeat of before, is no loss.
func TestRecover_WaitsForWhatServersReportNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shard("S1", "S2")
		c := &cluster{log: &shardlog.LogState{First: 1, Last: 7}, batch: map[uint64]string{7: "seven"}}
		speaks := func(server string, reports ...events.ReplicaStatus) {
			received(t, c, server, reports...)
		}
		speaks("S1", position(events.ReplicaReady, 6, "six"), position(events.ReplicaReady, 7, "seven"))
		speaks("S2", position(events.ReplicaReady, 6, "six"))
		reports := planned(t, c, s)
		if want := "The old log would be deleted; S1 has all of it. A replica is ready: what is written until then may be lost as well."; !strings.HasSuffix(reports, "\n"+want) {
			t.Errorf("got %s, want %s", reports, want)
		}
	})
}

func TestRecover_ReportsWhatIsGivenUp(t *testing.T) {
	f := func(want string, log *shardlog.LogState, batches map[uint64]string, a, b *events.ReplicaStatus) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := &cluster{log: log, batch: batches}
			for server, reports := range map[string]*events.ReplicaStatus{"S1": a, "S2": b} {
				if reports != nil {
					received(t, c, server, *reports)
				} else {
					received(t, c, server)
				}
			}
			if reports := planned(t, c, shard("S1", "S2")); !strings.Contains(reports+"\n", want) {
				t.Errorf("got %s, want %s", reports, want)
			}
		})
	}
	of := func(state string, seq uint64, batch string) *events.ReplicaStatus {
		r := position(state, seq, batch)
		return &r
	}
	behind, ahead, foreign := of(events.ReplicaHalted, 7, "seven"), of(events.ReplicaQuarantined, 9, "nine"), of(events.ReplicaHalted, 30, "x")
	foreign.Applied.Incarnation = "another"
	f("continue S2, its", nil, nil, behind, ahead)
	f("The log that they followed is gone. What only other replicas have would be given up.\n", nil, nil, behind, ahead)
	f("it batches 10 to 12, which no replica that is heard has. What only", &shardlog.LogState{First: 1, Last: 12}, map[uint64]string{9: "nine"}, behind, ahead)
	f("The old log would be deleted; S2 has all of it. What only", &shardlog.LogState{First: 1, Last: 9}, map[uint64]string{9: "nine"}, behind, ahead)
	f("The old log would be deleted; S2 has all of it. What only", &shardlog.LogState{First: 10, Last: 9}, nil, behind, ahead)
	// It went back to 8, and somebody wrote.
	f("has another history than S2: it ends at 9, with what was stored at 2026-01-02T03:04:05Z. It would be deleted, and with it what was written",
		&shardlog.LogState{First: 1, Last: 9}, map[uint64]string{9: "other"}, behind, ahead)
	f("has another history than S2: it ends at 8.", &shardlog.LogState{First: 1, Last: 8}, nil, behind, ahead)
	f("has another history than S1: it ends at 0.", &shardlog.LogState{First: 1, Last: 0}, nil, foreign, nil)
	f("S1 on h: halted, has applied 30 of another log\n", &shardlog.LogState{First: 1, Last: 8}, nil, foreign, behind)
	f("continue S2, its", &shardlog.LogState{First: 1, Last: 8}, nil, foreign, behind)
	f("S2 on h: silent, had applied 3\n", &shardlog.LogState{First: 1, Last: 7}, map[uint64]string{7: "seven"}, behind, nil)
	f("S1 has all of it. What only", &shardlog.LogState{First: 1, Last: 7}, map[uint64]string{7: "seven"}, behind, nil)
	f("No replica of shard T.s is heard", &shardlog.LogState{First: 1, Last: 7}, nil, nil, nil)
}

// A log that cannot be read is one to recover from.
func TestRecover_OfADamagedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{log: &shardlog.LogState{First: 20, Last: 25}, unreadable: errors.New("no block")}
		received(t, c, "S1", position(events.ReplicaHalted, 20, "twenty"))
		reports := planned(t, c, shard("S1"))
		want := "The old log would be deleted, and with it batches 21 to 25, which no replica that is heard has. It could not be compared with S1 (no block): it may have another history."
		if !strings.Contains(reports, want) {
			t.Errorf("got %s, want %s", reports, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{log: &shardlog.LogState{First: 20, Last: 25}}
		received(t, c, "S1", position(events.ReplicaHalted, 7, "seven"))
		if reports, want := planned(t, c, shard("S1")), "with it batches 20 to 25, which"; !strings.Contains(reports, want) {
			t.Errorf("got %s, want %s", reports, want)
		}
	})
}

// A log that grows is not one that went back.
func TestRecover_ALogMayGrowMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{log: &shardlog.LogState{First: 1, Last: 7}, batch: map[uint64]string{9: "nine"}}
		received(t, c, "S1", position(events.ReplicaReady, 9, "nine"))
		speak := c.listen
		c.listen = func(subject string, fn func(string, []byte)) (func(), error) {
			c.log = &shardlog.LogState{First: 1, Last: 10}
			return speak(subject, fn)
		}
		if reports := planned(t, c, shard("S1")); !strings.Contains(reports, "S1 has all of it") {
			t.Error(reports)
		}
	})
}

func shard(servers ...string) events.ShardStatus {
	s := events.ShardStatus{Table: "T", Shard: "s", Incarnation: "i"}
	for _, server := range servers {
		s.Replicas = append(s.Replicas, events.ReplicaReport{Server: server, Host: "h", State: events.ReplicaReady, AppliedSeq: 3})
	}
	return s
}

func position(state string, seq uint64, batch string) events.ReplicaStatus {
	return events.ReplicaStatus{Table: "T", Shard: "s", State: state, Applied: events.Position{Incarnation: "i", Seq: seq, Batch: batch}}
}

// heard has a server say one thing in each heartbeat.
func received(t *testing.T, c *cluster, server string, reports ...events.ReplicaStatus) {
	t.Helper()
	others := c.listen
	c.listen = func(subject string, fn func(string, []byte)) (func(), error) {
		if subject != events.ShardSubject(server) {
			return others(subject, fn)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for _, r := range reports {
				b, err := json.Marshal(events.ShardHeartbeat{Server: server, Replicas: []events.ReplicaStatus{r}})
				if err != nil {
					panic(err)
				}
				fn(subject, b)
				select {
				case <-time.After(events.HeartbeatInterval):
				case <-ctx.Done():
					return
				}
			}
		}()
		return stop, nil
	}
}

func planned(t *testing.T, c *cluster, s events.ShardStatus) string {
	t.Helper()
	p, err := recovery.Plan(t.Context(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	return p.String()
}

func TestRecover_NothingWithoutAnOrder(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		c, asked := recovering(database(), events.StatusErrorf(409, "Server0 is ready"))
		got, out, errs := run(t, c.wiring(), append([]string{"shards", "recover"}, args...)...)
		if got != code || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %d, %q", args, got, out, errs, code, want)
		}
		if code != console.ExitRefused && len(*asked) > 0 {
			t.Errorf("%v: asked %+v", args, *asked)
		}
	}
	f(console.ExitUsage, "say --yes", "StudT.sh2")
	f(console.ExitFailed, "there is no shard StudT.sh9", "StudT.sh9")
	f(console.ExitUsage, `"sh2" is no TABLE.SHARD`, "sh2", "--yes")
	f(console.ExitUsage, `"StudT.../x" is no TABLE.SHARD`, "StudT.../x", "--yes")
	f(console.ExitFailed, "there is no shard StudT.sh9", "StudT.sh9", "--yes")
	f(console.ExitRefused, "Server0 is ready", "StudT.sh2", "--yes")
}
