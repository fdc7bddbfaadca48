package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Op is one operation on a register, as its client saw it.
type Op struct {
	Client  string
	Key     int64
	Read    bool
	Value   string // written, or read
	Outcome Outcome
	Call    time.Duration // since any moment that all share
	Return  time.Duration
}

// Session judges reads of one session: reads begun after a write was
// acknowledged see it or a newer one, and reads begun after another read has
// ended see nothing older than that saw. One writer a key writes versions, one
// after another from 0 (which is there before all), and none after one whose
// outcome it does not know. version reads the number from a value.
func Session(ops []Op, version func(string) (int, bool)) (faults []Fault) {
	byKey := map[int64][]Op{}
	for _, op := range ops {
		byKey[op.Key] = append(byKey[op.Key], op)
	}
	for key, ops := range byKey {
		faults = append(faults, session(key, ops, version)...)
	}
	slices.SortFunc(faults, func(a, b Fault) int { return cmp.Compare(a.Key, b.Key) })
	return faults
}

type sight struct {
	at      time.Duration
	version int
	op      Op
}

func session(key int64, ops []Op, version func(string) (int, bool)) (faults []Fault) {
	var seen []sight // what must not be undone any more, from when on
	wrote := map[int]Op{}
	var reads []sight
	for _, op := range ops {
		v, ok := version(op.Value)
		switch {
		case op.Read && op.Outcome != Acknowledged:
		case op.Read && !ok:
			faults = append(faults, Fault{Phantom, key, op.Client, fmt.Sprintf("read %q", op.Value)})
		case op.Read:
			reads = append(reads, sight{op.Call, v, op})
			seen = append(seen, sight{op.Return, v, op})
		default:
			wrote[v] = op
			if op.Outcome == Acknowledged {
				seen = append(seen, sight{op.Return, v, op})
			}
		}
	}
	byTime := func(a, b sight) int { return cmp.Compare(a.at, b.at) }
	slices.SortStableFunc(seen, byTime)
	slices.SortStableFunc(reads, byTime)
	newest, next := sight{}, 0
	for _, r := range reads {
		for ; next < len(seen) && seen[next].at < r.at; next++ {
			if seen[next].version > newest.version {
				newest = seen[next]
			}
		}
		if r.version < newest.version {
			faults = append(faults, Fault{Stale, key, r.op.Client, fmt.Sprintf("read version %d at %s, after %s knew %d at %s", r.version, r.at, newest.op.Client, newest.version, newest.at)})
		}
		if w, ok := wrote[r.version]; r.version != 0 && (!ok || w.Outcome == Rejected || w.Call > r.op.Return) {
			faults = append(faults, Fault{Phantom, key, r.op.Client, fmt.Sprintf("read version %d, which nobody had written", r.version)})
		}
	}
	return faults
}
