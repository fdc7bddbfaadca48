// Package streams is what is known of the streams of a bus: how many copies each
// has, and where.
package streams

// Status is one stream: a bucket, the events, or the log of a shard.
type Status struct {
	Name   string `json:"name"`
	Copies int    `json:"copies"`           // 0: not known, it did not answer
	Leader string `json:"leader,omitempty"` // bus server; empty: none now
	Behind []Copy `json:"behind,omitempty"` // copies that have not all that is acknowledged
}

// Copy is a copy of a stream that is not up to date.
type Copy struct {
	Server string `json:"server"`
	Lag    uint64 `json:"lag"`            // entries it lacks, as far as its leader knows
	Away   bool   `json:"away,omitempty"` // its server is not heard
}

// Added is a stream that was given more copies.
type Added struct {
	Stream string `json:"stream"`
	Before int    `json:"before"`
	Copies int    `json:"copies"`
}
