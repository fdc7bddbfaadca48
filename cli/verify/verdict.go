package verify

import (
	"fmt"
	"strings"

	"ringway/cli/console"
	"ringway/events/shardlog"
)

// Verdict is what `ringway verify` found out about one shard.
type Verdict struct {
	Table    string           `json:"table"`
	Shard    string           `json:"shard"`
	Equal    bool             `json:"equal"` // all replicas answered, and alike
	Seq      uint64           `json:"seq"`   // at which they were compared
	Rows     int64            `json:"rows"`  // of most of them
	Replicas []replicaVerdict `json:"replicas"`
	Error    string           `json:"error,omitempty"` // why nobody could be asked
}

// replicaVerdict is one replica beside the others.
type replicaVerdict struct {
	Server   string   `json:"server"`
	Answered bool     `json:"answered"`
	Differs  []string `json:"differs,omitempty"` // position, rows, data, results or idempotency: unlike most of them
	Error    string   `json:"error,omitempty"`
	*shardlog.StateDigest
}

// verdict compares the digests of one marker. It cannot know who is right: a replica
// differs if it is unlike the majority, or at a tie unlike the first.
func (t *attempt) verdict(table, shard string) Verdict {
	v := Verdict{Table: table, Shard: shard, Seq: t.seq, Equal: t.complete(), Replicas: []replicaVerdict{}}
	if t.err != nil {
		v.Error = t.err.Error()
	} else if len(t.expected) == 0 {
		v.Error = "nobody keeps it"
	}
	majority := t.majority()
	if majority != nil {
		v.Rows = majority.Rows
	}
	for _, server := range t.expected {
		r := replicaVerdict{Server: server}
		if d, ok := t.reports[server]; ok {
			r.Answered, r.Error = true, d.Error
			if d.Error == "" {
				r.StateDigest, r.Differs = &d.State, differences(*majority, d.State)
			}
		}
		v.Equal = v.Equal && r.Answered && r.Error == "" && len(r.Differs) == 0
		v.Replicas = append(v.Replicas, r)
	}
	return v
}

// majority is the state that most replicas have; nil if none sent a digest.
func (t *attempt) majority() *shardlog.StateDigest {
	count := map[shardlog.StateDigest]int{}
	for _, d := range t.reports {
		if d.Error == "" {
			count[d.State]++
		}
	}
	var winner *shardlog.StateDigest
	for _, server := range t.expected {
		if d, ok := t.reports[server]; ok && d.Error == "" && (winner == nil || count[d.State] > count[*winner]) {
			winner = &d.State
		}
	}
	return winner
}

// differences names the parts in which two states are not alike.
func differences(a, b shardlog.StateDigest) []string {
	var parts []string
	for _, p := range []struct {
		name  string
		alike bool
	}{
		{"position", a.Position == b.Position}, {"rows", a.Rows == b.Rows}, {"data", a.Data == b.Data},
		{"results", a.Results == b.Results}, {"idempotency", a.Idempotency == b.Idempotency},
	} {
		if !p.alike {
			parts = append(parts, p.name)
		}
	}
	return parts
}

func (a *command) printVerdicts(all []Verdict) {
	width := 0
	for _, v := range all {
		width = max(width, len(v.Table)+1+len(v.Shard))
	}
	for _, v := range all {
		fmt.Fprintf(a.Out, "%-*s  %s\n", width, v.Table+"."+v.Shard, console.Printable(v.summary()))
		for _, line := range v.faults() {
			fmt.Fprintf(a.Out, "%-*s    %s\n", width, "", console.Printable(line))
		}
	}
}

func (v *Verdict) summary() string {
	switch n := len(v.Replicas); {
	case v.Equal:
		return fmt.Sprintf("equal: %s, %s at seq %d", console.Count(int64(n), "replica"), console.Count(v.Rows, "row"), v.Seq)
	case v.Error != "":
		return "NOT VERIFIED: " + v.Error
	}
	for _, r := range v.Replicas {
		if len(r.Differs) > 0 {
			return fmt.Sprintf("DIFFERENT at seq %d", v.Seq)
		}
	}
	return fmt.Sprintf("NOT VERIFIED at seq %d", v.Seq)
}

// faults is a line for each replica that spoils it.
func (v *Verdict) faults() (lines []string) {
	if v.Equal || v.Error != "" {
		return nil
	}
	for _, r := range v.Replicas {
		switch {
		case !r.Answered:
			lines = append(lines, r.Server+" did not answer in time; see 'ringway shards'")
		case r.Error != "":
			lines = append(lines, r.Server+" could not tell: "+r.Error)
		case len(r.Differs) > 0:
			lines = append(lines, fmt.Sprintf("%s: %s, has %s at seq %d; most have %d", r.Server, strings.Join(r.Differs, ", "), console.Count(r.Rows, "row"), r.Position.Seq, v.Rows))
		}
	}
	return lines
}
