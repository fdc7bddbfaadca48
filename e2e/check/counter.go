package check

import (
	"fmt"
	"slices"
)

// Step is one thing that the only writer of a key did, one after another. Each
// value that it wrote is another.
type Step struct {
	Read    bool
	Value   string // written, or read
	Outcome Outcome
}

// Counter follows what one writer wrote to one key and read back, from its
// first value on, to what the replicas hold in the end: no update is lost, none
// takes effect twice or after it was overwritten, unless its outcome is not
// known: such a one may take effect once, at any time from then on.
func Counter(key int64, first string, steps []Step, final []Replica) (faults []Fault) {
	c := counter{value: first, old: map[string]bool{}}
	for i, s := range steps {
		switch {
		case s.Read && s.Outcome == Acknowledged:
			if kind := c.sees(s.Value); kind != "" {
				faults = append(faults, Fault{kind, key, fmt.Sprintf("step %d", i), fmt.Sprintf("read %q after %q", s.Value, c.value)})
				c.value = s.Value // and go on from there: one fault, one report
			}
		case s.Read: // without an answer
		case s.Outcome == Rejected:
			c.old[s.Value] = true
		case s.Outcome == Acknowledged:
			c.becomes(s.Value)
		default:
			c.pending = append(c.pending, s.Value)
		}
	}
	for i, r := range final {
		end := c.clone()
		rows := slices.DeleteFunc(slices.Clone(r.Rows), func(row Row) bool { return row.Key != key })
		if len(rows) != 1 {
			kind := Twice
			if len(rows) == 0 {
				kind = Lost
			}
			faults = append(faults, Fault{kind, key, r.Name, fmt.Sprintf("there %d times", len(rows))})
			continue
		}
		if kind := end.sees(rows[0].Value); kind != "" {
			faults = append(faults, Fault{kind, key, r.Name, fmt.Sprintf("is %q in the end, after %q", rows[0].Value, c.value)})
		}
		if i > 0 && !slices.Contains(final[0].Rows, rows[0]) {
			faults = append(faults, Fault{Differ, key, r.Name, fmt.Sprintf("is %q, not so on %s", rows[0].Value, final[0].Name)})
		}
	}
	return faults
}

type counter struct {
	value   string
	pending []string        // unknown, and not seen yet
	old     map[string]bool // overwritten or rejected
}

func (c *counter) clone() *counter {
	return &counter{value: c.value, pending: slices.Clone(c.pending), old: c.old}
}

func (c *counter) becomes(value string) {
	c.old[c.value] = true
	c.value = value
}

// sees takes in a value that was read; it returns the kind of fault that it is.
func (c *counter) sees(value string) string {
	switch i := slices.Index(c.pending, value); {
	case value == c.value:
		return ""
	case i >= 0:
		c.pending = slices.Delete(c.pending, i, i+1)
		c.becomes(value)
		return ""
	case c.old[value]:
		return Stale
	}
	return Phantom
}
