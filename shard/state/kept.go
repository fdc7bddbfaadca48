package state

import (
	"encoding/json"
	"fmt"

	"ringway/events"
	"ringway/events/shardlog"
)

// Columns are those of one row that a store has found.
type Columns interface{ Scan(into ...any) error }

// ReadResults reads the columns batch, seq, at, ops and notable, and then those
// that the caller wants in more.
func ReadResults(spec *events.ShardSpec, row Columns, more ...any) (shardlog.KeptResults, error) {
	r := shardlog.Results{Table: spec.Table, Shard: spec.Shard.ID}
	var at int64
	var notable []byte
	if err := row.Scan(append([]any{&r.Batch, &r.Seq, &at, &r.Ops, &notable}, more...)...); err != nil {
		return shardlog.KeptResults{}, err
	}
	if len(notable) > 0 {
		if err := json.Unmarshal(notable, &r.Notable); err != nil {
			return shardlog.KeptResults{}, fmt.Errorf("results of batch %s: %w", r.Batch, err)
		}
	}
	return shardlog.KeptResults{At: FromNanos(at), Results: r}, nil
}

// ReadIdempotency reads the columns name, body, at, op and first.
func ReadIdempotency(row Columns) (shardlog.KeptIdempotency, error) {
	var k shardlog.KeptIdempotency
	var at int64
	var first []byte
	if err := row.Scan(&k.Key, &k.Body, &at, &k.Op, &first); err != nil {
		return k, err
	}
	k.At = FromNanos(at)
	if err := json.Unmarshal(first, &k.First); err != nil {
		return k, fmt.Errorf("idempotency key %.40q: %w", k.Key, err)
	}
	return k, nil
}
