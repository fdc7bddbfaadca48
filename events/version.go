package events

import (
	"fmt"
	"time"
)

// Version orders the values of one bucket. Incarnation distinguishes one life of
// the bucket from another: a wiped bus starts its revisions again at 1, so
// versions of different incarnations cannot be compared.
//
// An Epoch of a route is the version of its key in BucketRoutes. A leader's
// Token is the version of the Create that began its term in BucketLease.
type Version struct {
	Incarnation string `json:"incarnation"`
	Revision    uint64 `json:"revision"`
}

// Epoch is the version of a route.
type Epoch = Version

// Token is the version of a leader's term.
type Token = Version

// Zero reports whether v is no version at all.
func (v Version) Zero() bool { return v == Version{} }

// After reports whether v follows u within one incarnation.
func (v Version) After(u Version) bool {
	return v.Incarnation == u.Incarnation && v.Revision > u.Revision
}

// Foreign reports whether v and u belong to different lives of the bus.
// A zero version is foreign to nothing.
func (v Version) Foreign(u Version) bool {
	return !v.Zero() && !u.Zero() && v.Incarnation != u.Incarnation
}

func (v Version) String() string {
	if v.Zero() {
		return "none"
	}
	return fmt.Sprintf("%s/%d", v.Incarnation, v.Revision)
}

// Entry is one value of a bucket. Value is nil when the key was deleted.
type Entry struct {
	Key     string
	Value   []byte
	Version Version
}

// Deleted reports whether the key is gone.
func (e Entry) Deleted() bool { return e.Value == nil }

// News is what an entry means to somebody who applied one version of its key.
type News int

// Kinds of news.
const (
	Stale News = iota // applied already, or older, or nothing
	Fresh             // a value to apply
	Gone              // the key was deleted
	Wiped             // another life of the bus does not know the key: that is no order
)

// News compares e with the version that is applied; zero if none is.
func (e Entry) News(applied Version) News {
	switch {
	case applied.Zero() && !e.Deleted():
		return Fresh
	case applied.Zero(), !e.Version.After(applied) && !e.Version.Foreign(applied):
		return Stale
	case e.Deleted() && e.Version.Foreign(applied):
		return Wiped
	case e.Deleted():
		return Gone
	}
	return Fresh
}

// Decision is part of every value that a leader stores: in which term it was
// decided, and the events that explain it (a transactional outbox). The events
// are published after the value is stored; those that are not published yet are
// carried on by the next value, and a new leader publishes what its predecessor
// could not.
type Decision struct {
	Term   Token   `json:"term"`
	Former Version `json:"former,omitzero"` // what this value replaced; zero: nobody knows
	Cause  []Event `json:"cause,omitempty"`
}

// Why gives access to the decision behind a stored value.
func (d *Decision) Why() *Decision { return d }

// Duration is a time.Duration written as text ("1.5s") in JSON and YAML.
type Duration time.Duration

// D is d as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, like 1.5s or 500ms", b)
	}
	*d = Duration(v)
	return nil
}
