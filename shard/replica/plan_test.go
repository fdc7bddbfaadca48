package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ringway/events"
	"ringway/events/shardlog"
)

func TestNext(t *testing.T) {
	at := func(life string, seq uint64) *events.Position {
		return &events.Position{Incarnation: life, Seq: seq, Batch: fmt.Sprint("b", seq)}
	}
	log := func(first, last uint64) shardlog.LogState { return shardlog.LogState{First: first, Last: last} }
	donors := []peer{{"s2", "127.0.0.1:1"}}
	wrapped := func(err error) error { return fmt.Errorf("apply: %w", err) }
	for _, c := range []struct {
		name   string
		origin *events.Position
		donors []peer
		s      observation
		want   step
		state  string
	}{
		{"new, short log", nil, donors, observation{log: log(1, 999)}, stepCreate, events.ReplicaCatchingUp},
		{"new, long log", nil, donors, observation{log: log(1, 1000)}, stepFill, events.ReplicaCopying},
		{"new, long log, nobody ready", nil, nil, observation{log: log(1, 1000)}, stepCreate, events.ReplicaCatchingUp},
		{"new, empty log", nil, nil, observation{log: log(1, 0)}, stepCreate, events.ReplicaCatchingUp},
		{"new, large log", nil, donors, observation{log: shardlog.LogState{First: 1, Last: 5, Bytes: 1000}}, stepFill, events.ReplicaCopying},
		{"new, purged log", nil, donors, observation{log: log(2, 5)}, stepFill, events.ReplicaCopying},
		{"new, purged log, nobody ready", nil, nil, observation{log: log(2, 5)}, stepRest, events.ReplicaWaiting},
		{"new, log continues another", at("old", 0), nil, observation{log: log(1, 0)}, stepRest, events.ReplicaWaiting},
		{"new, log continues another, donor", at("old", 7), donors, observation{log: log(8, 7)}, stepFill, events.ReplicaCopying},
		{"new, no log", nil, donors, observation{logErr: wrapped(events.ErrLogMissing)}, stepRest, events.ReplicaWaiting},
		{"new, foreign log", nil, donors, observation{logErr: wrapped(events.ErrLogForeign)}, stepRest, events.ReplicaWaiting},
		{"new, bus away", nil, donors, observation{logErr: errors.New("away")}, stepRest, events.ReplicaOpening},
		{"there", nil, donors, observation{at: at("life", 5)}, stepApply, events.ReplicaCatchingUp},
		{"there, nothing in it", nil, nil, observation{at: at("life", 0)}, stepApply, events.ReplicaCatchingUp},
		{"behind", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogPurged)}, stepReplace, events.ReplicaCopying},
		{"behind, nobody ready", nil, nil, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogPurged)}, stepRest, events.ReplicaHalted},
		{"before a hole", nil, donors, observation{at: at("life", 5), applyErr: wrapped(&events.LogHole{From: 6, To: 9})}, stepReplace, events.ReplicaCopying},
		{"before a hole, nobody ready", nil, nil, observation{at: at("life", 5), applyErr: wrapped(&events.LogHole{From: 6, To: 9})}, stepRest, events.ReplicaHalted},
		{"new, log with a hole", nil, donors, observation{log: log(1, 20), hole: &events.LogHole{From: 6, To: 9}}, stepFill, events.ReplicaCopying},
		{"new, log with a hole, nobody ready", nil, nil, observation{log: log(1, 20), hole: &events.LogHole{From: 6, To: 9}}, stepRest, events.ReplicaWaiting},
		{"another history", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogForeign)}, stepReplace, events.ReplicaQuarantined},
		{"another history, nobody ready", nil, nil, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogForeign)}, stepRest, events.ReplicaQuarantined},
		{"log is gone", nil, donors, observation{at: at("life", 5), applyErr: wrapped(events.ErrLogMissing)}, stepRest, events.ReplicaHalted},
		{"cannot apply", nil, donors, observation{at: at("life", 5), applyErr: errors.New("no batch")}, stepRest, events.ReplicaHalted},
		{"recovered from here", at("old", 5), donors, observation{at: at("old", 5)}, stepRebase, events.ReplicaCatchingUp},
		{"recovered from further", at("old", 6), donors, observation{at: at("old", 5)}, stepReplace, events.ReplicaQuarantined},
		{"recovered from further, nobody ready", at("old", 6), nil, observation{at: at("old", 5)}, stepRest, events.ReplicaQuarantined},
		{"recovered from another batch", &events.Position{Incarnation: "old", Seq: 5, Batch: "x"}, nil, observation{at: at("old", 5)}, stepRest, events.ReplicaQuarantined},
		{"another log, nothing lost", nil, nil, observation{at: at("old", 0)}, stepDiscard, events.ReplicaOpening},
		{"another log", nil, nil, observation{at: at("old", 1)}, stepRest, events.ReplicaQuarantined},
	} {
		a := &Target{Log: events.ShardLog{Incarnation: "life", Origin: c.origin}, donors: c.donors}
		c.s.maxReplaySeq, c.s.maxReplayBytes = 1000, 1000
		do, state, detail := next(a, &c.s)
		if do != c.want || state != c.state {
			t.Errorf("%s: %s, %s (%s); want %s, %s", c.name, do, state, detail, c.want, c.state)
		}
		if do == stepRest && strings.TrimSpace(detail) == "" {
			t.Errorf("%s: no reason is given", c.name)
		}
	}
}
