package client

import (
	"cmp"
	"errors"
	"strings"

	"ringway/events"
)

// ErrNoDatabase is that of commands which need one.
var ErrNoDatabase = errors.New("there is no database; make one with 'ringway init'")

// ShardsOf has arrays where there is nothing, for scripts.
func ShardsOf(st events.Status) []events.ShardStatus {
	all := []events.ShardStatus{}
	for _, t := range st.Tables {
		for _, s := range t.Shards {
			if s.Replicas == nil {
				s.Replicas = []events.ReplicaReport{}
			}
			all = append(all, s)
		}
	}
	return all
}

// ShardProblem is what keeps a shard from having all its replicas ready.
type ShardProblem struct {
	Shard       string // TABLE.SHARD
	What        string // empty: nothing
	Served      bool   // some replica is ready
	Lost        bool   // no other is on its way to being so
	Recoverable bool   // the leader would give it a new log
	Retries     bool   // a replica halted for a reason that is not its log, which may pass
}

// ProblemOf judges what the leader reports of a shard.
func ProblemOf(s events.ShardStatus) ShardProblem {
	l := ShardProblem{Shard: s.Table + "." + s.Shard}
	if len(s.Replicas) == 0 {
		l.What = "is kept by nobody"
		return l
	}
	ready, halted, rebuilt, coming := 0, 0, 0, 0
	servers, detail, states := map[string][]string{}, map[string]string{}, []string{}
	for _, r := range s.Replicas {
		switch r.State {
		case events.ReplicaReady:
			ready++
			continue
		case events.ReplicaHalted:
			halted++
			l.Retries = l.Retries || r.Cause != events.CauseLogMissing && r.Cause != events.CauseLogPurged && r.Cause != events.CauseLogDamaged
		case events.ReplicaQuarantined: // until another is ready, or becomes it
			rebuilt, halted = rebuilt+1, halted+1
		case events.ReplicaWaiting:
			rebuilt++
		default:
			coming++
		}
		if servers[r.State] == nil {
			states = append(states, r.State)
		}
		servers[r.State] = append(servers[r.State], r.Server)
		detail[r.State] = cmp.Or(detail[r.State], r.Detail)
	}
	if ready > 0 {
		coming += rebuilt
	}
	var parts []string
	for _, state := range states {
		part := state + " on " + strings.Join(servers[state], ", ")
		if detail[state] != "" {
			part += " (" + detail[state] + ")"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		l.Served = true
		return l
	}
	l.What = "is " + strings.Join(parts, ", ")
	l.Served, l.Lost = ready > 0, coming == 0
	l.Recoverable = ready == 0 && l.Lost && halted > 0
	l.Retries = l.Retries && l.Recoverable
	return l
}
