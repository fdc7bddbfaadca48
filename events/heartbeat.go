package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// HeartbeatInterval is the time between two heartbeats of one sender.
const HeartbeatInterval = 500 * time.Millisecond

// States of an instance as its agent sees it.
const (
	Starting = "starting" // runs, has not passed its first health probe
	Ready    = "ready"    // passes its health probe
	Unready  = "unready"  // ran ready once, fails its probes now
	Stopping = "stopping" // was asked to end
	Dead     = "dead"     // assigned, but gone; the agent does not start it again
)

// HostHeartbeat is what an agent knows about its host, sent every HeartbeatInterval and at
// once on change.
type HostHeartbeat struct {
	Host        string           `json:"host"`
	Incarnation string           `json:"incarnation"` // of the agent process; a new one for each start
	Sent        time.Time        `json:"sent"`
	Token       Token            `json:"token,omitzero"`    // newest term whose assignment the agent applied
	Assigned    Version          `json:"assigned,omitzero"` // version of the assignment it applied last
	Load        Load             `json:"load"`
	Instances   []InstanceStatus `json:"instances"`
	Detail      string           `json:"detail,omitempty"` // why the agent does not apply its newest assignment
}

// Load is how busy a host is.
type Load struct {
	CPUs   int     `json:"cpus"`
	Load1  float64 `json:"load1"`  // run queue, one-minute mean
	Memory uint64  `json:"memory"` // bytes in all
	Free   uint64  `json:"free"`   // bytes available
}

// InstanceStatus is one instance as its agent sees it.
type InstanceStatus struct {
	Name    string    `json:"name"`
	Service string    `json:"service"`
	ID      int       `json:"id"`
	Kind    string    `json:"kind,omitempty"`
	Volume  string    `json:"volume,omitempty"`
	State   string    `json:"state"`
	Address string    `json:"address,omitempty"` // host:port that routers reach
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Detail  string    `json:"detail,omitempty"` // exit status, or why a probe fails
}

// RouterHeartbeat is what a router serves.
type RouterHeartbeat struct {
	Router   string                    `json:"router"`
	Address  string                    `json:"address"` // where clients reach it
	Sent     time.Time                 `json:"sent"`
	Epochs   map[string]Epoch          `json:"epochs"` // by service
	Tables   map[string]Epoch          `json:"tables,omitempty"`
	InFlight map[string]map[string]int `json:"in_flight"` // requests by service and member; members without any are left out
}

// ControllerHeartbeat is what the leader reports. Whoever applied an older
// version of something reads it again.
type ControllerHeartbeat struct {
	Controller string           `json:"controller"`
	Term       Token            `json:"term"`
	Sent       time.Time        `json:"sent"`
	Epochs     map[string]Epoch `json:"epochs"` // by service
	Tables     map[string]Epoch `json:"tables,omitempty"`

	Assigned map[string]Version `json:"assigned,omitempty"` // by host
}

// DecodeHostHeartbeat reads a heartbeat of an agent.
func DecodeHostHeartbeat(b []byte) (HostHeartbeat, error) {
	var h HostHeartbeat
	if err := json.Unmarshal(b, &h); err != nil {
		return HostHeartbeat{}, fmt.Errorf("decode heartbeat of an agent: %w", err)
	}
	if err := ValidName(h.Host); err != nil {
		return HostHeartbeat{}, fmt.Errorf("decode heartbeat of an agent: host: %w", err)
	}
	if len(h.Instances) > MaxInstances {
		return HostHeartbeat{}, fmt.Errorf("decode heartbeat of agent %q: %d instances are too many", h.Host, len(h.Instances))
	}
	for _, i := range h.Instances {
		if err := ValidName(i.Name); err != nil {
			return HostHeartbeat{}, fmt.Errorf("decode heartbeat of agent %q: %w", h.Host, err)
		}
	}
	return h, nil
}

// DecodeRouterHeartbeat reads a heartbeat of a router.
func DecodeRouterHeartbeat(b []byte) (RouterHeartbeat, error) {
	var r RouterHeartbeat
	if err := json.Unmarshal(b, &r); err != nil {
		return RouterHeartbeat{}, fmt.Errorf("decode heartbeat of a router: %w", err)
	}
	if r.Router == "" {
		return RouterHeartbeat{}, fmt.Errorf("decode heartbeat of a router: router is missing")
	}
	return r, nil
}

// DecodeControllerHeartbeat reads a heartbeat of the leader.
func DecodeControllerHeartbeat(b []byte) (ControllerHeartbeat, error) {
	var c ControllerHeartbeat
	if err := json.Unmarshal(b, &c); err != nil {
		return ControllerHeartbeat{}, fmt.Errorf("decode heartbeat of the controller: %w", err)
	}
	if c.Controller == "" {
		return ControllerHeartbeat{}, fmt.Errorf("decode heartbeat of the controller: controller is missing")
	}
	return c, nil
}

// States of a replica as its shard server sees it.
const (
	ReplicaOpening     = "opening"     // the store is not open yet
	ReplicaWaiting     = "waiting"     // has nothing, and nobody to copy from
	ReplicaCopying     = "copying"     // is being filled; Applied is where it will be
	ReplicaCatchingUp  = "catching-up" // behind what the log had when it began
	ReplicaReady       = "ready"
	ReplicaQuarantined = "quarantined" // on another history; rebuilt when another replica is ready
	ReplicaHalted      = "halted"      // cannot go on by itself; Detail is why
)

// Why a replica halted, where somebody decides by it.
const (
	CauseLogMissing = "log_missing"
	CauseLogPurged  = "log_purged"
	CauseLogDamaged = "log_damaged"
)

// ShardHeartbeat is what a shard server knows of its replicas, sent every HeartbeatInterval
// and at once when a state changes.
type ShardHeartbeat struct {
	Server      string           `json:"server"`
	Incarnation string           `json:"incarnation"` // of the process
	Sent        time.Time        `json:"sent"`
	Engine      string           `json:"engine"` // "MariaDB 10.11.14", "SQLite 3.50"; empty until it answers
	Volume      string           `json:"volume,omitempty"`
	Epochs      map[string]Epoch `json:"epochs"` // by table: the route that it applies
	Replicas    []ReplicaStatus  `json:"replicas"`
	Detail      string           `json:"detail,omitempty"` // why the engine does not answer
}

// ReplicaStatus is one replica.
type ReplicaStatus struct {
	Table   string   `json:"table"`
	Shard   string   `json:"shard"`
	State   string   `json:"state"`
	Applied Position `json:"applied"` // how far it has come
	Durable Position `json:"durable"` // what a power cut cannot take back
	Detail  string   `json:"detail,omitempty"`
	Cause   string   `json:"cause,omitempty"` // of ReplicaHalted: CauseLogMissing, CauseLogPurged, CauseLogDamaged or another one, which has no name
	Hole    *LogHole `json:"hole,omitempty"`  // that it met last in the log it follows; it may be purged since
}

// Replica finds one replica.
func (b *ShardHeartbeat) Replica(table, shard string) (ReplicaStatus, bool) {
	for _, r := range b.Replicas {
		if r.Table == table && r.Shard == shard {
			return r, true
		}
	}
	return ReplicaStatus{}, false
}

// DecodeShardHeartbeat reads a heartbeat of a shard server.
func DecodeShardHeartbeat(b []byte) (ShardHeartbeat, error) {
	var s ShardHeartbeat
	if err := json.Unmarshal(b, &s); err != nil {
		return ShardHeartbeat{}, fmt.Errorf("decode heartbeat of a shard server: %w", err)
	}
	if err := ValidName(s.Server); err != nil {
		return ShardHeartbeat{}, fmt.Errorf("decode heartbeat of a shard server: %w", err)
	}
	if len(s.Replicas) > MaxReplicas {
		return ShardHeartbeat{}, fmt.Errorf("decode heartbeat of shard server %q: %d replicas are too many", s.Server, len(s.Replicas))
	}
	return s, nil
}
