package shardlog

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"ringway/events"
	"ringway/events/rowjson"
)

// Sizes of batches and ops, in bytes of JSON.
const (
	TargetBatchBytes = 256 << 10
	MaxOpBytes       = 900_000 // the bus carries messages of up to 1 MiB
	MaxBatchBytes    = 1_000_000
	MaxBatchOps      = 65535
	MaxIdempotency   = 255 // of a client's key
)

// How long a replica remembers, by the time of the log.
const (
	ResultsKept     = 10 * time.Minute
	IdempotencyKept = 24 * time.Hour
)

// Kinds of ops.
const (
	OpInsert  = "insert"  // Rows, all or none
	OpUpdate  = "update"  // Rows[0] replaces the row of its key
	OpDelete  = "delete"  // Key
	OpBarrier = "barrier" // nothing: who waits for its result has read all before it
	OpDigest  = "digest"  // nothing: every replica publishes the digest of its state at this point
)

// Op is one client operation on one shard. Its values are fixed: applying it
// depends on neither clock nor chance, so that it does the same everywhere.
type Op struct {
	Kind        string        `json:"op"`
	Rows        []rowjson.Row `json:"rows,omitempty"`
	Key         *int64        `json:"key,omitempty"`
	Idempotency *Idempotency  `json:"idempotency,omitempty"`
}

// Idempotency makes a repeated request harmless: the same key with the same
// body gets the first outcome again, with another body a mismatch.
type Idempotency struct {
	Key  string `json:"key"`
	Body string `json:"body"` // digest of the request's body
}

// Batch is one message of a shard's log.
type Batch struct {
	ID     string `json:"id"`     // also the message id, so that a resent one is stored once
	Writer string `json:"writer"` // who waits for the results
	Table  string `json:"table"`
	Shard  string `json:"shard"`
	Ops    []Op   `json:"ops"`
}

// OpID names op i of a batch, for clients that ask later.
func OpID(batch string, i int) string { return batch + "." + strconv.Itoa(i) }

// ParseOpID is the reverse of OpID.
func ParseOpID(id string) (batch string, i int, err error) {
	dot := strings.LastIndexByte(id, '.')
	if dot < 0 || events.ValidID(id[:dot]) != nil {
		return "", 0, events.StatusErrorf(400, "op id %q: want <batch>.<number>", rowjson.Shorten(id))
	}
	n, err := strconv.ParseUint(id[dot+1:], 10, 16)
	if err != nil || n >= MaxBatchOps || OpID(id[:dot], int(n)) != id {
		return "", 0, events.StatusErrorf(400, "op id %q: want <batch>.<number>", rowjson.Shorten(id))
	}
	return id[:dot], int(n), nil
}

// ErrRepeatedKey is of a write that has two rows of one key.
var ErrRepeatedKey = errors.New("a key is there twice")

// Validate accepts an op that every replica of the shard can apply, whatever
// rows it holds. Writers refuse what it refuses; appliers give it the outcome
// Invalid. Its errors name the column or field.
func (o *Op) Validate(schema *events.Schema, shard events.Shard) error {
	if err := o.WellFormed(); err != nil {
		return err
	}
	rising, last := true, int64(0)
	for i, row := range o.Rows {
		key, err := schema.CheckedKey(row)
		if err != nil {
			return err
		}
		if !shard.Holds(key) {
			return outside(schema, key, shard)
		}
		rising = rising && (i == 0 || key > last)
		last = key
	}
	if o.Key != nil && !shard.Holds(*o.Key) {
		return outside(schema, *o.Key, shard)
	}
	if rising { // Fast path: no key is there twice
		return nil
	}
	seen := make(map[int64]bool, len(o.Rows))
	for _, row := range o.Rows {
		key := row.Key()
		if seen[key] {
			return events.StatusErrorf(409, "%s: %d is there twice in one write", schema.KeyColumn(), key).With(ErrRepeatedKey)
		}
		seen[key] = true
	}
	return nil
}

func outside(schema *events.Schema, key int64, shard events.Shard) error {
	return events.StatusErrorf(400, "%s: %d is outside of shard %s, which holds %d to %d", schema.KeyColumn(), key, shard.ID, shard.Low, shard.High())
}

// WellFormed is the part of Validate that needs no schema. A batch is read as
// a whole, so no op of it may lack this.
func (o *Op) WellFormed() error {
	rows, key := 0, false
	switch o.Kind {
	case OpInsert:
		rows = math.MaxInt
	case OpUpdate:
		rows = 1
	case OpDelete:
		key = true
	case OpBarrier, OpDigest:
	default:
		return events.StatusErrorf(400, "op: %q is unknown", rowjson.Shorten(o.Kind))
	}
	switch {
	case rows > 0 && len(o.Rows) == 0:
		return events.StatusErrorf(400, "rows: missing")
	case len(o.Rows) > rows:
		return events.StatusErrorf(400, "rows: %d are too many for op %s", len(o.Rows), o.Kind)
	case key && o.Key == nil:
		return events.StatusErrorf(400, "key: missing")
	case !key && o.Key != nil:
		return events.StatusErrorf(400, "key: not for op %s", o.Kind)
	case o.Idempotency != nil:
		return o.Idempotency.Validate()
	}
	return nil
}

// Validate names the first thing that cannot be.
func (i *Idempotency) Validate() error {
	if i.Key == "" || len(i.Key) > MaxIdempotency || !events.Printable(i.Key) {
		return events.StatusErrorf(400, "idempotency key: use 1 to %d printable ASCII characters", MaxIdempotency)
	}
	if err := events.ValidID(i.Body); err != nil {
		return events.StatusErrorf(400, "idempotency body: %s", err)
	}
	return nil
}

// Entry is one message of a log as it was stored.
type Entry struct {
	Seq   uint64
	Time  time.Time // the log's, the same for every replica
	Batch Batch
}

// DecodeBatch reads a message of a log. What comes back is well formed;
// whether it fits the table, Op.Validate finds out.
func DecodeBatch(b []byte) (Batch, error) {
	if len(b) > MaxBatchBytes {
		return Batch{}, fmt.Errorf("decode batch: %d bytes are too many", len(b))
	}
	batch, err := unmarshalBatch(b)
	if err != nil {
		return Batch{}, fmt.Errorf("decode batch: %w", err)
	}
	if err := events.ValidID(batch.ID); err != nil {
		return Batch{}, fmt.Errorf("decode batch: id: %w", err)
	}
	if batch.Writer == "" || len(batch.Writer) > events.MaxIDBytes {
		return Batch{}, fmt.Errorf("decode batch %s: writer: use 1 to %d bytes", batch.ID, events.MaxIDBytes)
	}
	if err := events.ValidIdentifier(batch.Table); err != nil {
		return Batch{}, fmt.Errorf("decode batch %s: table: %w", batch.ID, err)
	}
	if err := events.ValidIdentifier(batch.Shard); err != nil {
		return Batch{}, fmt.Errorf("decode batch %s: shard: %w", batch.ID, err)
	}
	if len(batch.Ops) == 0 || len(batch.Ops) > MaxBatchOps {
		return Batch{}, fmt.Errorf("decode batch %s: %d ops; want 1 to %d", batch.ID, len(batch.Ops), MaxBatchOps)
	}
	for i := range batch.Ops {
		if err := batch.Ops[i].WellFormed(); err != nil {
			return Batch{}, fmt.Errorf("decode batch %s: op %d: %w", batch.ID, i, err)
		}
	}
	return batch, nil
}
