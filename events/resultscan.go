package events

import (
	"encoding/json"
	"strconv"
)

// unmarshalResults reads results. Most are of batches that are done, as
// appliers write them: those are read without reflection.
func unmarshalResults(b []byte) (Results, error) {
	s := scanner{rest: b}
	if r, ok := s.results(); ok {
		return r, nil
	}
	// Slow path: something to tell, other spacing, or no results
	var r Results
	err := json.Unmarshal(b, &r)
	return r, err
}

func (s *scanner) results() (r Results, whole bool) {
	whole = s.next(`{"batch":`) && s.string(&r.Batch) && s.next(`,"table":`) && s.string(&r.Table) && s.next(`,"shard":`) && s.string(&r.Shard) &&
		s.next(`,"seq":`) && s.unsigned(&r.Seq) && s.next(`,"ops":`)
	ops, ok := s.integer()
	r.Ops = int(ops)
	return r, whole && ok && int64(r.Ops) == ops && string(s.rest) == "}"
}

// unsigned reads one that is written as strconv does.
func (s *scanner) unsigned(to *uint64) bool {
	n := 0
	for n < len(s.rest) && digit(s.rest[n]) {
		n++
	}
	text := string(s.rest[:n])
	s.rest = s.rest[n:]
	v, err := strconv.ParseUint(text, 10, 64)
	*to = v
	return err == nil && plain(text)
}
