package events

import (
	"encoding/json"
	"fmt"

	"ringway/events/specs"
)

// Assignment is the value of a host in BucketAssign: all that the host shall
// run. What runs there and is not named is to be stopped, gracefully.
type Assignment struct {
	Host      string         `json:"host"`
	Instances []InstanceSpec `json:"instances"`
	Decision
}

// InstanceSpec is all that a runtime needs to start one instance. A Volume
// belongs to one instance at a time and is never removed by a runtime on its own.
type InstanceSpec struct {
	Name    string            `json:"name"`
	Service string            `json:"service"` // of a shard server: its table
	ID      int               `json:"id"`
	Kind    string            `json:"kind,omitempty"`    // empty: a replica of a service; KindShard
	Volume  string            `json:"volume,omitempty"`  // id of the data directory that it shall have on its host
	Engine  string            `json:"engine,omitempty"`  // of a shard server
	Command []string          `json:"command,omitempty"` // empty: the sample replica
	Env     map[string]string `json:"env,omitempty"`
	Image   string            `json:"image,omitempty"` // empty: Ringway's own
	Port    int               `json:"port,omitempty"`  // 0: the runtime chooses, and sets PORT
	Limits  Limits            `json:"limits,omitzero"`
	Health  string            `json:"health"`
	Grace   Duration          `json:"grace"`
}

// MarshalJSON and UnmarshalJSON store large specifications once.
func (a Assignment) MarshalJSON() ([]byte, error) {
	return specs.Marshal(a.Host, a.Instances, a.Decision)
}
func (a *Assignment) UnmarshalJSON(b []byte) error {
	return specs.Unmarshal(b, ValidName, &a.Host, &a.Instances, &a.Decision)
}

// DecodeAssignment reads a value of BucketAssign.
func DecodeAssignment(b []byte) (Assignment, error) {
	var a Assignment
	if err := json.Unmarshal(b, &a); err != nil {
		return Assignment{}, fmt.Errorf("decode assignment: %w", err)
	}
	return a, nil
}
