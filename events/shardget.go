package events

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// ShardGet is the path of a shard server's rows by key, of many shards in one
// question: POST with a list of GetPart. The answer has, for each part in
// turn, its rows and a line of ShardEnd, or a line of ShardFault.
const ShardGet = "/v1/get"

// ShardFault begins the line of a part that cannot be answered: "!<StatusError>".
const ShardFault = '!'

// Bounds of one question.
const (
	MaxGetParts = 256
	MaxGetKeys  = 1024
)

// GetPart asks one replica for rows. A log that is not the replica's is 409, as
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
	to = AppendText(append(to, `{"table":`...), p.Table)
	to = AppendText(append(to, `,"shard":`...), p.Shard)
	to = AppendText(append(to, `,"log":`...), p.Log)
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

// DecodeGet reads a question.
func DecodeGet(b []byte) ([]GetPart, error) {
	s := scanner{rest: b}
	parts, ok := s.getParts()
	if !ok { // Slow path: it does not look as routers write it
		parts = nil
		if err := json.Unmarshal(b, &parts); err != nil {
			return nil, StatusErrorf(400, "the body is no list of parts: %s", err)
		}
	}
	if len(parts) == 0 || len(parts) > MaxGetParts {
		return nil, StatusErrorf(400, "%d parts; want 1 to %d", len(parts), MaxGetParts)
	}
	keys := 0
	for i := range parts {
		if len(parts[i].Keys) == 0 {
			return nil, StatusErrorf(400, "part %d: no keys", i)
		}
		keys += len(parts[i].Keys)
	}
	if keys > MaxGetKeys {
		return nil, StatusErrorf(400, "%d keys; want at most %d", keys, MaxGetKeys)
	}
	return parts, nil
}

// AppendShardFault writes the line of a part that is refused.
func AppendShardFault(to []byte, r *StatusError) []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("BUG: a refusal is no JSON: " + err.Error())
	}
	return append(append(append(to, ShardFault), b...), '\n')
}

// ReadShardFault is the reverse of AppendShardFault.
func ReadShardFault(line []byte) error {
	var r StatusError
	if len(line) == 0 || line[0] != ShardFault || json.Unmarshal(line[1:], &r) != nil || r.Message == "" {
		return fmt.Errorf("%.200q instead of rows", line)
	}
	return &r
}

func (s *scanner) getParts() (parts []GetPart, whole bool) {
	whole = s.next("[") && s.list(func() bool {
		p, ok := s.getPart()
		parts = append(parts, p)
		return ok
	})
	return parts, whole && len(s.rest) == 0
}

func (s *scanner) getPart() (p GetPart, whole bool) {
	if !s.next(`{"table":`) || !s.string(&p.Table) || !s.next(`,"shard":`) || !s.string(&p.Shard) || !s.next(`,"log":`) || !s.string(&p.Log) {
		return p, false
	}
	if s.next(`,"floor":`) {
		floor, ok := s.integer()
		if !ok || floor < 0 {
			return p, false
		}
		p.MinSeq = uint64(floor)
	}
	whole = s.next(`,"keys":[`) && s.list(func() bool {
		key, ok := s.integer()
		p.Keys = append(p.Keys, key)
		return ok
	})
	return p, whole && s.next("}")
}

// list passes elements, of which there is one at least, to their closing bracket.
func (s *scanner) list(element func() bool) bool {
	for element() {
		if s.next("]") {
			return true
		}
		if !s.next(",") {
			return false
		}
	}
	return false
}

// integer reads one that is written as strconv does.
func (s *scanner) integer() (int64, bool) {
	n := 0
	for n < len(s.rest) && (digit(s.rest[n]) || s.rest[n] == '-') {
		n++
	}
	text := string(s.rest[:n])
	s.rest = s.rest[n:]
	i, err := strconv.ParseInt(text, 10, 64)
	return i, err == nil && plain(text)
}
