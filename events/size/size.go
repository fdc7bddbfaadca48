// Package size has what stored values may take, and refuses what takes more.
package size

import (
	"encoding/json"
	"fmt"
)

// Sizes of what is stored, in bytes. A bus refuses a message of more than
// MaxMessageBytes (max_payload of nats-server, by default). The largest values:
//
//	a service      its specification twice (now and before), MaxMembers replicas of
//	               about 310, MaxAnsweredNames names of 66, MaxCauseBytes
//	an assignment  every specification twice (two releases), MaxInstances
//	               references of about 120, MaxCauseBytes
//	a route        MaxSlots slots of 4, MaxMembers members of about 250, MaxCauseBytes
//
// TestSizes_TheLargestValuesFit makes them.
const (
	MaxMessageBytes  = 1 << 20
	MaxValueBytes    = MaxMessageBytes - 16<<10 // of a stored value; the rest is for what a bus adds
	MaxSpecBytes     = 64 << 10                 // of what one service or table is configured with, as JSON
	MaxSpecsBytes    = 256 << 10                // of all services and tables together: one host may have to run them all
	MaxAnsweredNames = 3000                     // of replicas, in the requests that a service or table knows again
	MaxCauseBytes    = 128 << 10                // of the events that a stored value carries
)

// EncodedBytes is the size of a value as it is stored.
func EncodedBytes(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: encode: " + err.Error())
	}
	return len(b)
}

// CheckSpecSize refuses a specification that is larger than one may be. What is
// stored already is not asked: an older release may have accepted it.
func CheckSpecSize(spec any) error {
	n := EncodedBytes(spec)
	if n <= MaxSpecBytes {
		return nil
	}
	largest, size := "the specification", 0
	var fields map[string]json.RawMessage
	b, _ := json.Marshal(spec) // EncodedBytes has
	_ = json.Unmarshal(b, &fields)
	for name, value := range fields {
		if len(value) > size {
			largest, size = name, len(value)
		}
	}
	return fmt.Errorf("%s: it takes %d bytes, and the specification %d as JSON; at most %d can be stored: put what is large into the image, or a file that the program reads",
		largest, size, n, MaxSpecBytes)
}

// CheckSpecsSize refuses specifications that are too large together.
func CheckSpecsSize(total int) error {
	if total <= MaxSpecsBytes {
		return nil
	}
	return fmt.Errorf("the specifications of all services and tables take %d bytes as JSON; at most %d fit what one host can be assigned", total, MaxSpecsBytes)
}
