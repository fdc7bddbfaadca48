package events

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Route is the value of a service in BucketRoutes: all that a router needs to
// serve it. Its epoch is the version of its key.
type Route struct {
	Service    string          `json:"service"`
	Algorithm  string          `json:"algorithm"`
	Functions  CourseFunctions `json:"functions,omitzero"`
	LoadFactor float64         `json:"load_factor"`
	Key        KeySource       `json:"key"`
	Paths      []string        `json:"paths,omitempty"`
	Timeout    Duration        `json:"timeout"`
	Members    []Member        `json:"members"` // in the order that Slots refers to
	Slots      Slots           `json:"slots"`
	Decision
}

// Member is an instance as routers see it. A draining member owns no slot and
// is named until its last request is done.
type Member struct {
	Name     string  `json:"name"`
	ID       int     `json:"id"`
	Host     string  `json:"host"`
	Address  string  `json:"address"`
	Weight   float64 `json:"weight"` // its share is weight ÷ sum of weights
	Draining bool    `json:"draining,omitempty"`
}

// Slots is a slot table on the wire: the index of the owner among the members
// for each slot, NoOwner where there is none. In JSON it is base64 (standard
// alphabet, padded) of little-endian uint16.
type Slots []uint16

// MarshalText implements encoding.TextMarshaler.
func (s Slots) MarshalText() ([]byte, error) {
	raw := make([]byte, 2*len(s))
	for i, v := range s {
		binary.LittleEndian.PutUint16(raw[2*i:], v)
	}
	return base64.StdEncoding.AppendEncode(nil, raw), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Slots) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, b)
	if err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	if len(raw)%2 != 0 || len(raw)/2 > MaxSlots {
		return fmt.Errorf("slots: %d bytes are no table of at most %d slots", len(raw), MaxSlots)
	}
	table := make(Slots, len(raw)/2)
	for i := range table {
		table[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	*s = table
	return nil
}

// DecodeRoute reads a value of BucketRoutes. In what it returns every slot
// names a member that is there, or nobody.
func DecodeRoute(b []byte) (Route, error) {
	var r Route
	if err := json.Unmarshal(b, &r); err != nil {
		return Route{}, fmt.Errorf("decode route: %w", err)
	}
	if err := ValidName(r.Service); err != nil {
		return Route{}, fmt.Errorf("decode route: service: %w", err)
	}
	if len(r.Members) > 0 && len(r.Slots) == 0 {
		return Route{}, fmt.Errorf("decode route of %q: %d members but no slots", r.Service, len(r.Members))
	}
	for slot, owner := range r.Slots {
		if int(owner) >= len(r.Members) && owner != NoOwner {
			return Route{}, fmt.Errorf("decode route of %q: slot %d names member %d of %d", r.Service, slot, owner, len(r.Members))
		}
	}
	for _, m := range r.Members {
		if m.Name == "" || m.Address == "" {
			return Route{}, fmt.Errorf("decode route of %q: a member has no name or no address", r.Service)
		}
		if !(m.Weight > 0) {
			return Route{}, fmt.Errorf("decode route of %q: member %q has weight %v", r.Service, m.Name, m.Weight)
		}
	}
	return r, nil
}
