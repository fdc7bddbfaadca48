package events

import "time"

// Verbs of the leader's request/reply API (ringway.api.<verb>).
const (
	APIAdd    = "add"    // ScaleRequest → ScaleReply
	APIRemove = "rm"     // ScaleRequest → ScaleReply
	APIStatus = "status" // {} → Status

	APIInit          = "init"          // InitRequest → ServersReply
	APIAddServers    = "add-servers"   // ServersRequest → ServersReply
	APIRemoveServers = "rm-servers"    // ServersRequest → ServersReply
	APIRecover       = "recover-shard" // RecoverRequest → RecoverReply
)

// ScaleRequest adds N replicas to a service or removes N from it. Names are
// those to use (add) or to remove first (rm); the rest is random. ID makes a
// repeated request harmless.
type ScaleRequest struct {
	ID      string   `json:"id"`
	Service string   `json:"service"` // empty: the only one
	N       int      `json:"n"`
	Names   []string `json:"hostnames,omitempty"`
}

// ScaleReply is sent when the change is real: every live router serves Epoch,
// in which the added replicas own slots and the removed ones do not.
type ScaleReply struct {
	Service  string   `json:"service"`
	Replicas []string `json:"replicas"` // all that serve, in id order
	Added    []string `json:"added,omitempty"`
	Removed  []string `json:"removed,omitempty"`
	Epoch    Epoch    `json:"epoch"`
}

// Placement names a shard server and the shards that it shall keep.
type Placement struct {
	Name   string   `json:"name"` // empty, or Server[…]: a random one
	Shards []string `json:"shards"`
}

// InitRequest makes a table, cut into shards, on N shard servers. Servers that
// are not placed, and shards that nobody keeps, are spread: Replicas copies of
// each shard where N allows it. A placement that is given stands as it is.
type InitRequest struct {
	ID       string      `json:"id"`
	N        int         `json:"n"`
	Table    Table       `json:"table"`
	Servers  []Placement `json:"servers,omitempty"`  // in the order of the request, at most N
	Replicas int         `json:"replicas,omitempty"` // 0: DefaultShardReplicas
	Engine   string      `json:"engine,omitempty"`
}

// ServersRequest adds N shard servers, and shards, to a table, or removes N.
type ServersRequest struct {
	ID        string      `json:"id"`
	Table     string      `json:"table"` // empty: the only one
	N         int         `json:"n"`
	Servers   []Placement `json:"servers,omitempty"`    // add: in the order of the request, at most N
	NewShards []Shard     `json:"new_shards,omitempty"` // add
	Names     []string    `json:"names,omitempty"`      // rm: first those, then random ones
}

// ServersReply is sent when the change is real: every replica that was asked
// for is ready, and every live router serves Epoch.
type ServersReply struct {
	Table   string   `json:"table"`
	N       int      `json:"n"`               // servers there are now
	Added   []string `json:"added,omitempty"` // in the order of the request
	Removed []string `json:"removed,omitempty"`
	Epoch   Epoch    `json:"epoch"`
}

// RecoverRequest gives a shard that halted a new log, which continues the most
// advanced replica. Only a person's order leads to it: what other replicas and
// the old log had beyond that replica is given up.
type RecoverRequest struct {
	ID    string `json:"id"`
	Table string `json:"table"` // empty: the only one
	Shard string `json:"shard"`
	Force bool   `json:"force,omitempty"` // although a wanted replica sends no heartbeats, or the shard did not halt
}

// RecoverReply is what the new log continues.
type RecoverReply struct {
	Table  string   `json:"table"`
	Shard  string   `json:"shard"`
	Log    ShardLog `json:"log"`
	Server string   `json:"server"` // whose state it is
	Epoch  Epoch    `json:"epoch"`
}

// Status is all that the leader knows, for people.
type Status struct {
	Controller string           `json:"controller"`
	Term       Token            `json:"term"`
	Since      time.Time        `json:"since"`
	Services   []ServiceStatus  `json:"services"`
	Hosts      []HostStatus     `json:"hosts"`
	Routers    []RouterStatus   `json:"routers"`
	Instances  []InstanceReport `json:"instances"`
	Tables     []TableStatus    `json:"tables,omitempty"`
	RolledBack *Rollback        `json:"rewound,omitempty"` // nil: never
}

// Rollback is how the bus was last found to be an older copy of itself.
type Rollback struct {
	Noticed time.Time `json:"noticed"`
	Reason  string    `json:"reason"`
}

// TableStatus is one table with all that is known of its replicas.
type TableStatus struct {
	Name    string        `json:"name"`
	Schema  Schema        `json:"schema"`
	Engine  string        `json:"engine"` // that was asked for: auto, mysql or sqlite
	Servers []Placement   `json:"servers"`
	Shards  []ShardStatus `json:"shards"`
	Epoch   Epoch         `json:"epoch"`
	Detail  string        `json:"detail,omitempty"` // how far a change of its servers is, or why it is not rolled out any further
}

// ShardStatus is one line of `ringway shards`.
type ShardStatus struct {
	Table       string          `json:"table"`
	Shard       string          `json:"shard"`
	Low         int64           `json:"low"`
	Size        int64           `json:"size"`
	Incarnation string          `json:"incarnation"` // of its log
	Responder   string          `json:"eager,omitempty"`
	LastSeq     uint64          `json:"last_seq"` // of its log, as far as anybody has read; 0: nothing yet
	Replicas    []ReplicaReport `json:"replicas"`
}

// ReplicaReport is one replica in `ringway shards`.
type ReplicaReport struct {
	Server     string `json:"server"`
	Host       string `json:"host"`
	State      string `json:"state"`       // as its server reports; pending before the first heartbeat, silent when there are no more
	AppliedSeq uint64 `json:"applied_seq"` // as of its last heartbeat, like DurableSeq
	DurableSeq uint64 `json:"durable_seq"`
	Detail     string `json:"detail,omitempty"`
	Cause      string `json:"cause,omitempty"` // see ReplicaStatus
}

// ServiceStatus is one service in short.
type ServiceStatus struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Wanted    int    `json:"wanted"`
	Serving   int    `json:"serving"`
	Epoch     Epoch  `json:"epoch"`
	Detail    string `json:"detail,omitempty"` // why a change is not rolled out any further
}

// States of a host.
const (
	Alive   = "alive"
	Suspect = "suspect" // silent for a while: out of rotation
	Lost    = "lost"    // silent for long: its instances are replaced elsewhere
)

// HostStatus is one host in short.
type HostStatus struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`
	Incarnation string   `json:"incarnation"`
	Silent      Duration `json:"silent"`
	Instances   int      `json:"instances"`
	Load        Load     `json:"load"`
}

// RouterStatus is one router in short.
type RouterStatus struct {
	ID      string           `json:"id"`
	Address string           `json:"address"`
	Silent  Duration         `json:"silent"`
	Epochs  map[string]Epoch `json:"epochs"`
}

// InstanceReport is one line of `ringway ps`.
type InstanceReport struct {
	Name    string    `json:"name"`
	Service string    `json:"service"`
	ID      int       `json:"id"`
	Host    string    `json:"host"`
	State   string    `json:"state"` // as its agent reports; pending before the first heartbeat
	Serving bool      `json:"serving"`
	Address string    `json:"address"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`
	Detail  string    `json:"detail,omitempty"`
}

// Pending is the state of an instance that no agent has reported yet.
const Pending = "pending"

// Silent is the state of a replica whose server is silent; Detail is what
// it was before.
const Silent = "silent"
