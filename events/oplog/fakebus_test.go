package oplog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	var statusErr *events.StatusError
	if !errors.As(err, &statusErr) || statusErr.Code != code || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v, want a refusal with %d", err, code)
	}
}

func wantUnknown(t *testing.T, err error) *oplog.Unknown {
	t.Helper()
	var unknown *oplog.Unknown
	if !errors.As(err, &unknown) || !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v, want an unknown outcome", err)
	}
	if _, _, err := shardlog.ParseOpID(unknown.OpID); err != nil {
		t.Fatal(err)
	}
	return unknown
}

// nobody knows no results.
type nobody struct{}

func (nobody) Results(context.Context, events.LogID, string) (shardlog.Results, error) {
	return shardlog.Results{}, events.ErrNotFound
}

// fakeBus is a bus whose answers a test decides: each append waits for answer, and
// the test publishes the results.
type fakeBus struct {
	answer func(ctx context.Context, n int, b shardlog.Batch) (uint64, error) // of append n, from 0

	mu       sync.Mutex
	batches  []shardlog.Batch
	raw      []string
	listener func(string, []byte)
	asked    int
}

func (d *fakeBus) Append(ctx context.Context, id events.LogID, batch string, data []byte) (uint64, error) {
	b, err := shardlog.DecodeBatch(data)
	if err != nil {
		panic(err)
	}
	if b.ID != batch || b.Table != id.Table || b.Shard != id.Shard {
		panic(fmt.Sprintf("batch %s in log %s is %s of %s.%s", batch, id, b.ID, b.Table, b.Shard))
	}
	d.mu.Lock()
	n := len(d.batches)
	d.batches = append(d.batches, b)
	d.raw = append(d.raw, string(data))
	d.mu.Unlock()
	return d.answer(ctx, n, b)
}

// seen are the batches that were appended.
func (d *fakeBus) seen() []shardlog.Batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.batches)
}

func (d *fakeBus) Listen(_ string, fn func(string, []byte)) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener = fn
	return func() {}, nil
}

func (d *fakeBus) Results(context.Context, events.LogID, string) (shardlog.Results, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return shardlog.Results{}, events.ErrNotFound
}

// publishResults publishes that all ops of a batch are done.
func (d *fakeBus) publishResults(b shardlog.Batch, seq uint64) {
	d.publish(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Seq: seq, Ops: len(b.Ops)})
}

func (d *fakeBus) publish(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	d.mu.Lock()
	listener := d.listener
	d.mu.Unlock()
	listener("", data)
}

// away is an append that hangs until its context ends.
func away(ctx context.Context, _ int, _ shardlog.Batch) (uint64, error) {
	<-ctx.Done()
	return 0, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, ctx.Err())
}

// acknowledged lets the test acknowledge appends, one by one.
func (d *fakeBus) acknowledged() chan<- uint64 {
	acks := make(chan uint64) // made in the bubble, or it does not belong to it
	d.answer = func(ctx context.Context, _ int, _ shardlog.Batch) (uint64, error) {
		select {
		case seq := <-acks:
			return seq, nil
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, ctx.Err())
		}
	}
	return acks
}

// bubble runs a writer on a fake bus in a bubble of virtual time.
func bubble(t *testing.T, d *fakeBus, change func(*oplog.Config), test func(t *testing.T, w *oplog.Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := oplog.DefaultConfig()
		if change != nil {
			change(&cfg)
		}
		w := oplog.New(cfg, d, d, d, testkit.Log(t))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(t, w)
	})
}

// do begins a Do; its outcome is in the channel.
func do(ctx context.Context, w *oplog.Writer, key int64) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := w.Do(ctx, theLog, insert(key))
		done <- err
	}()
	synctest.Wait()
	return done
}

func notYet(t *testing.T, done <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("answered already: %v", err)
	default:
	}
}
