package controller

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"ringway/events"
)

// state is all that a leader knows: what is stored (with the version to
// compare and set against) and what it has heard in its term. Only decide and
// the fold functions beside it touch it; they have no clock and no network.
type state struct {
	cfg  Config
	term events.Token
	rng  *rand.Rand

	services map[string]*stored[events.Service]    // by name
	assigned map[string]*stored[events.Assignment] // by host
	routes   map[string]*stored[events.Route]      // by service
	tables   map[string]*stored[events.Database]   // by name

	tableRoutes       map[string]*stored[events.TableRoute] // by table
	undecodable       map[string]bool                       // services whose stored value nobody can read
	undecodableTables map[string]bool                       // tables, likewise

	since     time.Time // listening without a break since then
	heardSelf time.Time // own heartbeat last came back
	hosts     map[string]*host
	routers   map[string]*router
	servers   map[string]*shardServer // by name
	unready   map[string]time.Time    // instances that fail their probes: since when
	backoff   map[replicaKey]backoff  // replacements that keep dying
	published map[string]bool         // hosts whose arrival has been told
	refused   map[string]string       // what cannot be had as it is asked for: why
	rollback  *events.Rollback        // why this life of the bus was begun with the values of another
}

// stored is a value of a bucket as this leader last wrote it.
type stored[T any] struct {
	value   T
	version events.Version
	former  uint64 // the key had no revision between this one and its own
}

// host is an agent as heard in this term. beat is nil for a host that is known
// only by what is assigned to it.
type host struct {
	name      string
	heartbeat *events.HostHeartbeat
	seen      time.Time
	state     string // events.Alive, Suspect, Lost
}

type router struct {
	heartbeat events.RouterHeartbeat
	seen      time.Time
}

// replicaKey is a place in a service or table: replacements of one instance share it.
type replicaKey struct {
	service string // or table: no two have the same name
	id      int
}

type backoff struct {
	failures int       // in a row, each of a young instance
	since    time.Time // no replacement before; an age is counted from here
}

func newState(cfg Config, term events.Token, seed uint64, now time.Time) *state {
	return &state{
		cfg: cfg, term: term, rng: rand.New(rand.NewPCG(seed, term.Revision)), since: now, heardSelf: now,
		services: map[string]*stored[events.Service]{}, assigned: map[string]*stored[events.Assignment]{}, routes: map[string]*stored[events.Route]{},
		hosts: map[string]*host{}, routers: map[string]*router{}, unready: map[string]time.Time{},
		backoff: map[replicaKey]backoff{}, published: map[string]bool{}, refused: map[string]string{},
		tables: map[string]*stored[events.Database]{}, tableRoutes: map[string]*stored[events.TableRoute]{}, servers: map[string]*shardServer{},
		undecodable: map[string]bool{}, undecodableTables: map[string]bool{},
	}
}

// assumeAlive counts every host that something is assigned to as just seen, so that
// one that died with the former leader is noticed.
func (s *state) assumeAlive(now time.Time) {
	for name := range s.assigned {
		s.hosts[name] = &host{name: name, seen: now, state: events.Alive}
		s.published[name] = true
	}
	s.assumeServers(now)
}

// status is what the agent of h last said of an instance.
func (h *host) status(instance string) (events.InstanceStatus, bool) {
	if h == nil || h.heartbeat == nil {
		return events.InstanceStatus{}, false
	}
	for _, i := range h.heartbeat.Instances {
		if i.Name == instance {
			return i, true
		}
	}
	return events.InstanceStatus{}, false
}

// placement finds the host that an instance is assigned to.
func (s *state) placement(instance string) (string, bool) {
	for name, a := range s.assigned {
		if assignedIn(a.value, instance) {
			return name, true
		}
	}
	return "", false
}

func assignedIn(a events.Assignment, instance string) bool {
	return slices.ContainsFunc(a.Instances, func(i events.InstanceSpec) bool { return i.Name == instance })
}

// isWanted reports whether an instance shall run: as a replica, or to follow one.
func isWanted(svc events.Service, instance string) bool {
	return slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Name == instance || r.Next == instance })
}

func isReplica(svc events.Service, instance string) bool {
	return slices.ContainsFunc(svc.Replicas, func(r events.Replica) bool { return r.Name == instance })
}

// readyToPlace reports whether enough has been heard to place instances well: all
// hosts that are known or expected, or as long as a silent one may take.
func (s *state) readyToPlace(now time.Time) bool {
	heard := 0
	for _, h := range s.hosts {
		if h.heartbeat != nil {
			heard++
		}
	}
	return heard > 0 && (heard >= max(s.cfg.ExpectHosts, len(s.hosts)) && s.cfg.ExpectHosts > 0 || now.Sub(s.since) >= s.cfg.SuspectAfter)
}

func byID(a, b events.Replica) int { return cmp.Compare(a.ID, b.ID) }

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
