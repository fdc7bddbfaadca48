package client

import (
	"testing"

	"ringway/events"
)

func TestProblemOf(t *testing.T) {
	f := func(want ShardProblem, replicas ...events.ReplicaReport) {
		t.Helper()
		want.Shard = "T.s"
		if got := ProblemOf(events.ShardStatus{Table: "T", Shard: "s", Replicas: replicas}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	r := func(server, state, detail string) events.ReplicaReport {
		return events.ReplicaReport{Server: server, State: state, Detail: detail}
	}
	f(ShardProblem{Served: true}, r("A", events.ReplicaReady, ""))
	f(ShardProblem{What: "is kept by nobody"})
	f(ShardProblem{What: "is quarantined on A, B (of old)", Lost: true, Recoverable: true}, r("A", events.ReplicaQuarantined, "of old"), r("B", events.ReplicaQuarantined, "of older"))
	f(ShardProblem{What: "is waiting on A, halted on B (disk)", Lost: true, Recoverable: true, Retries: true}, r("A", events.ReplicaWaiting, ""), r("B", events.ReplicaHalted, "disk"))
	gone := r("B", events.ReplicaHalted, "no log")
	gone.Cause = events.CauseLogMissing
	f(ShardProblem{What: "is halted on B (no log)", Lost: true, Recoverable: true}, gone)
	f(ShardProblem{What: "is waiting on A", Lost: true}, r("A", events.ReplicaWaiting, "")) // of nothing there is nothing to continue
	f(ShardProblem{What: "is halted on B", Served: true, Lost: true}, r("A", events.ReplicaReady, ""), r("B", events.ReplicaHalted, ""))
	f(ShardProblem{What: "is quarantined on B", Served: true}, r("A", events.ReplicaReady, ""), r("B", events.ReplicaQuarantined, ""))
	f(ShardProblem{What: "is halted on A, pending on B"}, r("A", events.ReplicaHalted, ""), r("B", events.Pending, ""))
}
