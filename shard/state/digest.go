package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"

	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// snapshot is a replica's state at one position; Items come in one order.
type snapshot interface {
	Head() shardapi.CopyHead
	Items(ctx context.Context, fn func(shardapi.CopyItem) error) error
}

// Digest reads a snapshot to its end.
func Digest(ctx context.Context, s snapshot) (shardlog.StateDigest, error) {
	head := s.Head()
	d := shardlog.StateDigest{Position: head.Position}
	data, results, idempotency := sha256.New(), sha256.New(), sha256.New()
	err := s.Items(ctx, func(item shardapi.CopyItem) error {
		switch {
		case item.Row != nil:
			d.Rows++
			return feed(data, item.Row)
		case item.Results != nil:
			return feed(results, item.Results)
		default:
			return feed(idempotency, item.Idempotency)
		}
	})
	if err != nil {
		return shardlog.StateDigest{}, fmt.Errorf("digest of shard %s: %w", head.Spec.Shard.ID, err)
	}
	d.Data, d.Results, d.Idempotency = sum(data), sum(results), sum(idempotency)
	return d, nil
}

func feed(h hash.Hash, v any) error {
	var b []byte
	var err error
	if row, ok := v.(rowjson.Row); ok {
		b, err = row.MarshalJSON() // most of a state: without the detour over reflection
	} else {
		b, err = json.Marshal(v)
	}
	if err != nil {
		return err
	}
	h.Write(append(b, '\n'))
	return nil
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
