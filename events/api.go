package events

import "time"

// Verbs of the leader's request/reply API (ringway.api.<verb>).
const (
	APIAdd    = "add"    // ScaleRequest → ScaleReply
	APIRemove = "rm"     // ScaleRequest → ScaleReply
	APIStatus = "status" // {} → Status
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

// Status is all that the leader knows, for people.
type Status struct {
	Controller string           `json:"controller"`
	Term       Token            `json:"term"`
	Since      time.Time        `json:"since"`
	Services   []ServiceStatus  `json:"services"`
	Hosts      []HostStatus     `json:"hosts"`
	Routers    []RouterStatus   `json:"routers"`
	Instances  []InstanceReport `json:"instances"`
}

// ServiceStatus is one service in short.
type ServiceStatus struct {
	Name      string `json:"name"`
	Algorithm string `json:"algorithm"`
	Wanted    int    `json:"wanted"`
	Serving   int    `json:"serving"`
	Epoch     Epoch  `json:"epoch"`
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
	State   string    `json:"state"` // as its agent says; pending before it is heard of
	Serving bool      `json:"serving"`
	Address string    `json:"address"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`
	Detail  string    `json:"detail,omitempty"`
}

// Pending is the state of an instance that no agent has reported yet.
const Pending = "pending"
