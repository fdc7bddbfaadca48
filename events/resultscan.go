package events

import "encoding/json"

// unmarshalResults reads results. Most are of batches that are done, as
// appliers write them: those are read without reflection.
func unmarshalResults(b []byte) (Results, error) {
	if r, ok := scanResults(string(b)); ok {
		return r, nil
	}
	// Slow path: notable results, other spacing, or no results
	var r Results
	err := json.Unmarshal(b, &r)
	return r, err
}

func scanResults(text string) (r Results, whole bool) {
	in := NewExactReader(text)
	if !in.Field(`{"batch":`, &r.Batch) || !in.Field(`,"table":`, &r.Table) || !in.Field(`,"shard":`, &r.Shard) || !in.Literal(`,"seq":`) {
		return r, false
	}
	seq, isSeq := in.Uint()
	if !isSeq || !in.Literal(`,"ops":`) {
		return r, false
	}
	ops, isCount := in.Int()
	r.Seq, r.Ops = seq, int(ops)
	return r, isCount && int64(r.Ops) == ops && in.Literal("}") && in.End()
}
