// Package check compares the answers that clients of a database got with what it then
// holds, and with what they read meanwhile.
//
// Checkers are plain functions of histories: no clock, no network, no state of
// their own. They raise no false alarm: an outcome that nobody knows excuses
// whatever it could have led to, and nothing else.
package check

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Outcome is what a client knows of its write.
type Outcome int

// Unknown is the zero value: a write whose answer never came.
const (
	Unknown      Outcome = iota
	Acknowledged         // it is there from now on
	Rejected             // it will never be there
)

func (o Outcome) String() string {
	return [...]string{"unknown", "acknowledged", "rejected"}[o]
}

// OfAnswer reads an HTTP answer to a write. A 503 rejects only if its text is that
// nothing was written.
func OfAnswer(status int, body string) Outcome {
	switch {
	case status == http.StatusOK:
		return Acknowledged
	case status >= 400 && status < 500:
		return Rejected
	case status == http.StatusServiceUnavailable && strings.Contains(body, "nothing was written"):
		return Rejected
	}
	return Unknown
}

// Kinds of faults.
const (
	Lost      = "lost"      // acknowledged, and not there
	Twice     = "twice"     // there more than once
	Undead    = "undead"    // rejected, and there
	Phantom   = "phantom"   // there, and nobody wrote it
	Torn      = "torn"      // one part of what is all or nothing
	Differ    = "differ"    // not the same on two replicas
	Stale     = "stale"     // older than what was there before
	NotLinear = "notlinear" // no order of the operations explains what was read
)

// Fault is one thing that must not be.
type Fault struct {
	Kind  string
	Key   int64
	Where string // a replica, or who read it
	What  string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s: key %d: %s: %s", f.Kind, f.Key, f.Where, f.What)
}

// Count is how many faults of each kind there are, for people.
func Count(faults []Fault) string {
	n := map[string]int{}
	for _, f := range faults {
		n[f.Kind]++
	}
	kinds := make([]string, 0, len(n))
	for kind, count := range n {
		kinds = append(kinds, fmt.Sprintf("%d %s", count, kind))
	}
	slices.Sort(kinds)
	return strings.Join(kinds, ", ")
}

// Has reports whether a fault of that kind is among them.
func Has(faults []Fault, kind string) bool {
	return slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == kind })
}
