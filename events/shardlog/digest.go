package shardlog

import (
	"encoding/json"
	"fmt"

	"ringway/events"
)

// StateDigest stands for all that a replica holds at Position. Replicas of a
// shard at one position have equal digests, whatever engine keeps them.
type StateDigest struct {
	Position    events.Position `json:"position"`
	Rows        int64           `json:"rows"`
	Data        string          `json:"data"`        // SHA-256 of the rows
	Results     string          `json:"results"`     // of the results that are kept
	Idempotency string          `json:"idempotency"` // of the idempotency keys that are kept
}

// Digest is of one replica at the marker of OpDigest: published on
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

// DecodeDigest reads the digest of a replica.
func DecodeDigest(b []byte) (Digest, error) {
	var d Digest
	if err := json.Unmarshal(b, &d); err != nil {
		return Digest{}, fmt.Errorf("decode digest: %w", err)
	}
	if err := events.ValidID(d.Batch); err != nil {
		return Digest{}, fmt.Errorf("decode digest: batch: %w", err)
	}
	return d, nil
}
