package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// States of a replica as its shard server sees it.
const (
	ReplicaOpening     = "opening"     // the store is not open yet
	ReplicaWaiting     = "waiting"     // has nothing, and nobody to copy from
	ReplicaCopying     = "copying"     // is being filled; Applied is where it will be
	ReplicaCatchingUp  = "catching-up" // behind what the log had when it began
	ReplicaReady       = "ready"
	ReplicaQuarantined = "quarantined" // on another history; rebuilt when another replica is ready
	ReplicaHalted      = "halted"      // cannot go on by itself; Detail says why
)

// ShardHeartbeat is what a shard server knows of its replicas, sent every HeartbeatInterval
// and at once when a state changes.
type ShardHeartbeat struct {
	Server      string           `json:"server"`
	Incarnation string           `json:"incarnation"` // of the process
	Sent        time.Time        `json:"sent"`
	Engine      string           `json:"engine"` // "MariaDB 10.11.14", "SQLite 3.50"; empty until it answers
	Volume      string           `json:"volume,omitempty"`
	Epochs      map[string]Epoch `json:"epochs"` // by table: the route that it obeys
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

// Digest is what one replica says at the marker of OpDigest: published on
// DigestSubject when it has applied the marker.
type Digest struct {
	Server string      `json:"server"`
	Table  string      `json:"table"`
	Shard  string      `json:"shard"`
	Batch  string      `json:"batch"` // of the marker
	State  StateDigest `json:"state"`
	Error  string      `json:"error,omitempty"` // it could not be computed
}

// DigestBusy is the Error of a digest that will be had later: its server had
// others to compute.
const DigestBusy = "too many digests at once"

// DecodeDigest reads what a replica says of its state.
func DecodeDigest(b []byte) (Digest, error) {
	var d Digest
	if err := json.Unmarshal(b, &d); err != nil {
		return Digest{}, fmt.Errorf("decode digest: %w", err)
	}
	if err := validID(d.Batch); err != nil {
		return Digest{}, fmt.Errorf("decode digest: batch: %w", err)
	}
	return d, nil
}
