package shardapi

import (
	"encoding/json"
	"fmt"
	"strconv"

	"ringway/events"
	"ringway/events/rowjson"
)

// GetPath is the path of a shard server's rows by key, of many shards in one
// request: POST with a list of GetPart. The answer has, for each part in
// order, its rows and a line of End, or a line of Fault.
const GetPath = "/v1/get"

// Fault begins the line of a part that cannot be answered: "!<StatusError>".
const Fault = '!'

// Bounds of one request.
const (
	MaxGetParts = 256
	MaxGetKeys  = 1024
)

// GetPart reads rows from one replica. A log that is not the replica's is 409, as
// is a shard that is not kept there.
type GetPart struct {
	Table  string  `json:"table"`
	Shard  string  `json:"shard"`
	Log    string  `json:"log"`             // incarnation
	MinSeq uint64  `json:"floor,omitempty"` // seq that has to be applied first
	Keys   []int64 `json:"keys"`            // in any order; repeated ones are answered once
}

// Append writes the part as json.Marshal does.
func (p *GetPart) Append(to []byte) []byte {
	to = rowjson.AppendText(append(to, `{"table":`...), p.Table)
	to = rowjson.AppendText(append(to, `,"shard":`...), p.Shard)
	to = rowjson.AppendText(append(to, `,"log":`...), p.Log)
	if p.MinSeq > 0 {
		to = strconv.AppendUint(append(to, `,"floor":`...), p.MinSeq, 10)
	}
	to = append(to, `,"keys":[`...)
	for i, key := range p.Keys {
		if i > 0 {
			to = append(to, ',')
		}
		to = strconv.AppendInt(to, key, 10)
	}
	return append(to, "]}"...)
}

// DecodeGet reads such a request.
func DecodeGet(b []byte) ([]GetPart, error) {
	parts, ok := scanParts(string(b))
	if !ok { // Slow path: it does not look as routers write it
		parts = nil
		if err := json.Unmarshal(b, &parts); err != nil {
			return nil, events.StatusErrorf(400, "the body is no list of parts: %s", err)
		}
	}
	if len(parts) == 0 || len(parts) > MaxGetParts {
		return nil, events.StatusErrorf(400, "%d parts; want 1 to %d", len(parts), MaxGetParts)
	}
	keys := 0
	for i := range parts {
		if len(parts[i].Keys) == 0 {
			return nil, events.StatusErrorf(400, "part %d: no keys", i)
		}
		keys += len(parts[i].Keys)
	}
	if keys > MaxGetKeys {
		return nil, events.StatusErrorf(400, "%d keys; want at most %d", keys, MaxGetKeys)
	}
	return parts, nil
}

// AppendFault writes the line of a part that is refused.
func AppendFault(to []byte, r *events.StatusError) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("BUG: a refusal is no JSON: " + err.Error())
	}
	return append(append(append(to, Fault), b...), '\n')
}

// ReadFault is the reverse of AppendFault.
func ReadFault(line []byte) error {
	var r events.StatusError
	if len(line) == 0 || line[0] != Fault || json.Unmarshal(line[1:], &r) != nil || r.Message == "" {
		return fmt.Errorf("%.200q instead of rows", line)
	}
	return &r
}

// scanParts reads parts as GetPart.Append writes them.
func scanParts(text string) (parts []GetPart, whole bool) {
	r := rowjson.NewExactReader(text)
	whole = r.Literal("[") && r.List(func() bool {
		parts = append(parts, GetPart{})
		return scanPart(&r, &parts[len(parts)-1])
	})
	return parts, whole && r.End()
}

func scanPart(r *rowjson.Reader, p *GetPart) bool {
	if !r.Field(`{"table":`, &p.Table) || !r.Field(`,"shard":`, &p.Shard) || !r.Field(`,"log":`, &p.Log) {
		return false
	}
	if r.Literal(`,"floor":`) {
		seq, ok := r.Uint()
		if !ok {
			return false
		}
		p.MinSeq = seq
	}
	return r.Literal(`,"keys":[`) && r.List(func() bool {
		key, ok := r.Int()
		p.Keys = append(p.Keys, key)
		return ok
	}) && r.Literal("}")
}
