package controller

import (
	"testing"
	"time"

	"ringway/events"
)

// ask is a request for the status; its answer is nil until it comes.
func (w *sim) requestStatus() func() *events.Status {
	var got *events.Status
	w.p.statusRequests = append(w.p.statusRequests, func(v any, _ error) { st := v.(events.Status); got = &st })
	w.decide()
	return func() *events.Status { return got }
}

func TestStatus_OfANewLeaderHasWhatRuns(t *testing.T) {
	w := withTable(t, 3, "h1", "h2")
	w.elect()

	answer := w.requestStatus()
	for _, host := range []string{"h1", "h2"} {
		if answer() != nil {
			t.Fatalf("it answered before %s was heard", host)
		}
		w.apply(w.s.ObserveHost(w.hostHeartbeat(host), w.now))
		w.serverHeartbeats(host)
		w.decide()
	}
	if answer() == nil {
		t.Fatal("no answer after all were heard")
	}
	for _, i := range answer().Instances {
		if i.State != events.Ready {
			t.Errorf("%s is %s", i.Name, i.State)
		}
	}
}

func TestStatus_WaitsForNobodyWhoIsSilent(t *testing.T) {
	w := withTable(t, 3, "h1", "h2")
	w.elect()
	w.silent["h2"] = true

	answer := w.requestStatus()
	w.step(events.HeartbeatInterval)
	if answer() != nil {
		t.Fatal("it answered though a host may be heard in a moment")
	}
	w.step(events.HeartbeatInterval)
	if answer() == nil {
		t.Fatalf("no answer after %s", 2*events.HeartbeatInterval)
	}
	w.run(3 * time.Second)
	if w.requestStatus()() == nil {
		t.Fatal("no answer at once, later")
	}
}

func TestStatus_AReplicaWithoutHeartbeatsIsSilent(t *testing.T) {
	w := withTable(t, 3, "h1", "h2", "h3")
	server := w.db().Servers[1].Name
	w.muted[server] = true
	w.run(3 * time.Second)
	for _, s := range w.requestStatus()().Tables[0].Shards {
		for _, r := range s.Replicas {
			want, detail := events.ReplicaReady, ""
			if r.Server == server {
				want, detail = events.Silent, "it was ready when it was last heard"
			}
			if r.State != want || r.Detail != detail {
				t.Errorf("%s on %s is %s (%s), want %s (%s)", s.Shard, r.Server, r.State, r.Detail, want, detail)
			}
		}
	}
}
