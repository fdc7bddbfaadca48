package check

import (
	"fmt"
	"slices"
)

// Write is one row that a client tried to insert under a key that no other
// write has.
type Write struct {
	Key     int64
	Value   string
	Outcome Outcome
	Group   int // rows of one request for one shard, which are all or nothing; 0: alone
}

// Row is what a replica holds.
type Row struct {
	Key   int64
	Value string
}

// Replica is all rows of one copy of a shard, in the order in which it gave
// them.
type Replica struct {
	Name string
	Rows []Row
}

// Set judges the replicas of one shard by all writes to it: each acknowledged
// row is there once, no rejected one is, unknown ones are there once or not,
// groups are whole, nothing is there that nobody wrote, and all replicas hold
// the same.
func Set(writes []Write, replicas []Replica) (faults []Fault) {
	byKey := make(map[int64]*Write, len(writes))
	groups := map[int][]int64{}
	for i := range writes {
		w := &writes[i]
		byKey[w.Key] = w
		if w.Group != 0 {
			groups[w.Group] = append(groups[w.Group], w.Key)
		}
	}
	held := make([]map[int64]string, len(replicas))
	for i, r := range replicas {
		held[i] = make(map[int64]string, len(r.Rows))
		for _, row := range r.Rows {
			if _, repeated := held[i][row.Key]; repeated {
				faults = append(faults, Fault{Twice, row.Key, r.Name, "there more than once"})
			}
			held[i][row.Key] = row.Value
			if f := judge(byKey[row.Key], row); f != nil {
				f.Where = r.Name
				faults = append(faults, *f)
			}
		}
		for _, w := range writes {
			if _, ok := held[i][w.Key]; w.Outcome == Acknowledged && !ok {
				faults = append(faults, Fault{Lost, w.Key, r.Name, "acknowledged and not there"})
			}
		}
		for _, keys := range groups {
			there := slices.DeleteFunc(slices.Clone(keys), func(key int64) bool { _, ok := held[i][key]; return !ok })
			if n := len(there); n != 0 && n != len(keys) {
				faults = append(faults, Fault{Torn, keys[0], r.Name, fmt.Sprintf("%d of %d rows of one write are there", n, len(keys))})
			}
		}
	}
	return append(faults, alike(replicas, held)...)
}

// judge names what is wrong with a row that is there.
func judge(w *Write, row Row) *Fault {
	switch {
	case w == nil:
		return &Fault{Kind: Phantom, Key: row.Key, What: "nobody wrote it"}
	case w.Value != row.Value:
		return &Fault{Kind: Phantom, Key: row.Key, What: fmt.Sprintf("is %q, was written as %q", row.Value, w.Value)}
	case w.Outcome == Rejected:
		return &Fault{Kind: Undead, Key: row.Key, What: "rejected and there"}
	}
	return nil
}

func alike(replicas []Replica, held []map[int64]string) (faults []Fault) {
	for i := 1; i < len(held); i++ {
		for key, value := range held[0] {
			if other, ok := held[i][key]; !ok || other != value {
				faults = append(faults, Fault{Differ, key, replicas[i].Name, fmt.Sprintf("is %q (there: %t), on %s %q", other, ok, replicas[0].Name, value)})
			}
		}
		for key, value := range held[i] {
			if _, ok := held[0][key]; !ok {
				faults = append(faults, Fault{Differ, key, replicas[i].Name, fmt.Sprintf("is %q, not there on %s", value, replicas[0].Name)})
			}
		}
	}
	return faults
}
