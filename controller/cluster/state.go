// Package cluster holds what a leader knows: what is stored, with the version
// to compare and set against, and what hosts, routers and shard servers have
// reported in its term. It has no clock and no network. What is decided from it
// is returned as effects.
package cluster

import (
	"math/rand/v2"
	"time"

	"ringway/events"
)

// State is all that a leader knows: what is stored, with the version to compare
// and set against, and what was reported in its term.
type State struct {
	Cfg  Config
	Term events.Token
	Rng  *rand.Rand

	Services map[string]*Stored[events.Service]    // by name
	Assigned map[string]*Stored[events.Assignment] // by host
	Routes   map[string]*Stored[events.Route]      // by service
	Tables   map[string]*Stored[events.Database]   // by name

	TableRoutes       map[string]*Stored[events.TableRoute] // by table
	Undecodable       map[string]bool                       // services whose stored value nobody can read
	UndecodableTables map[string]bool                       // tables, likewise

	Since      time.Time // listening without a break since then
	heardSelf  time.Time // own heartbeat last came back
	Hosts      map[string]*Host
	Routers    map[string]*router
	Servers    map[string]*shardServer // by name
	Unready    map[string]time.Time    // instances that fail their probes: since when
	readySince map[string]time.Time    // instances that are ready: since when without a break
	FirstReady map[string]time.Time    // instances that are or were ready
	backoff    map[ReplicaKey]backoff  // replacements that keep dying
	published  map[string]bool         // hosts whose joining was published
	reported   map[string]string       // what cannot be had as it is configured or requested, or waits: why
	unstorable map[string]unstorable   // values that the bus has refused, by bucket/key
	Rollback   *events.Rollback        // why this incarnation of the bus was begun with the values of another
}

// Stored is a value of a bucket as this leader last wrote it.
type Stored[T any] struct {
	Value   T
	Version events.Version
	Former  uint64 // the key had no revision between this one and its own
}

// Host is an agent as observed in this term. Heartbeat is nil for a host that is known
// only by what is assigned to it.
type Host struct {
	Name      string
	Heartbeat *events.HostHeartbeat
	Seen      time.Time
	State     string // events.Alive, Suspect, Lost
}

type router struct {
	Heartbeat events.RouterHeartbeat
	Seen      time.Time
}

func New(cfg Config, term events.Token, seed uint64, now time.Time) *State {
	return &State{
		Cfg: cfg, Term: term, Rng: rand.New(rand.NewPCG(seed, term.Revision)), Since: now, heardSelf: now,
		Services: map[string]*Stored[events.Service]{}, Assigned: map[string]*Stored[events.Assignment]{}, Routes: map[string]*Stored[events.Route]{},
		Hosts: map[string]*Host{}, Routers: map[string]*router{}, Unready: map[string]time.Time{}, readySince: map[string]time.Time{}, FirstReady: map[string]time.Time{},
		backoff: map[ReplicaKey]backoff{}, published: map[string]bool{}, reported: map[string]string{},
		Tables: map[string]*Stored[events.Database]{}, TableRoutes: map[string]*Stored[events.TableRoute]{}, Servers: map[string]*shardServer{},
		Undecodable: map[string]bool{}, UndecodableTables: map[string]bool{}, unstorable: map[string]unstorable{},
	}
}

// Status is the last reported status of an instance on h.
func (h *Host) Status(instance string) (events.InstanceStatus, bool) {
	if h == nil || h.Heartbeat == nil {
		return events.InstanceStatus{}, false
	}
	for _, i := range h.Heartbeat.Instances {
		if i.Name == instance {
			return i, true
		}
	}
	return events.InstanceStatus{}, false
}
