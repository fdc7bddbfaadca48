package oplog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/shardlog"
)

func TestDo_ResendsTheSame(t *testing.T) {
	d := &fakeBus{answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) {
		switch {
		case n < 5:
			return 0, events.ErrUnknownOutcome
		case n < 10:
			return 0, errors.New("the bus is away")
		}
		return 1, nil
	}}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		done := do(t.Context(), w, 1)
		time.Sleep(10 * time.Second) // virtual
		notYet(t, done)
		if len(d.raw) != 11 {
			t.Fatalf("%d appends", len(d.raw))
		}
		for _, raw := range d.raw {
			if raw != d.raw[0] {
				t.Fatalf("resent %s as %s", d.raw[0], raw)
			}
		}
		d.publishResults(d.batches[0], 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Results replace an acknowledgement that does not come.
func TestDo_ResultsEndTheAppend(t *testing.T) {
	d := &fakeBus{answer: away}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		for seq := uint64(1); seq <= 3; seq++ {
			done := do(t.Context(), w, int64(seq))
			notYet(t, done)
			d.publishResults(d.batches[seq-1], seq)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if len(d.batches) != 3 {
			t.Errorf("%d appends for 3 batches", len(d.batches))
		}
	})
}

func TestDo_IgnoresImpossibleResults(t *testing.T) {
	d := &fakeBus{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 1, nil }}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		done := do(t.Context(), w, 1)
		b := d.batches[0]
		d.publish("rubbish")
		d.publish(shardlog.Results{Batch: "other", Table: b.Table, Shard: b.Shard, Seq: 1, Ops: 1})
		d.publish(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Seq: 1, Ops: 2})
		d.publish(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: "sh2", Seq: 1, Ops: 1})
		d.publish(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Ops: 1})
		notYet(t, done)
		d.publishResults(b, 1)
		d.publishResults(b, 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Ops of a log that is away are refused after Patience, and later ones at once.
func TestDo_LogAway(t *testing.T) {
	gone := errors.New("the bus is away")
	back := false
	d := &fakeBus{answer: func(context.Context, int, shardlog.Batch) (uint64, error) {
		if !back {
			return 0, gone
		}
		return 1, nil
	}}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		f := func(minimum, maximum time.Duration) {
			t.Helper()
			begun := time.Now()
			err := <-do(t.Context(), w, 1)
			if wantCode(t, err, 503); !errors.Is(err, gone) {
				t.Errorf("%v does not wrap its cause", err)
			}
			if took := time.Since(begun); took < minimum || took > maximum {
				t.Errorf("answered after %s", took)
			}
		}
		f(5*time.Second, 6*time.Second)
		f(0, 100*time.Millisecond)
		f(0, 100*time.Millisecond)
		back = true
		done := do(t.Context(), w, 1)
		d.publishResults(d.batches[len(d.batches)-1], 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		back = false
		f(5*time.Second, 6*time.Second) // it is away anew
	})
}

// Ops that wait behind a batch of unknown outcome are known not to be stored.
func TestDo_DistinguishesSentFromUnsent(t *testing.T) {
	d := &fakeBus{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 0, events.ErrUnknownOutcome }}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		begun := time.Now()
		sent := do(t.Context(), w, 1)
		unsent := do(t.Context(), w, 2)
		err := <-unsent
		wantCode(t, err, 503)
		if took := time.Since(begun); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the op that was not sent: answered after %s", took)
		}
		begun2 := time.Now()
		wantCode(t, <-do(t.Context(), w, 3), 503)
		if took := time.Since(begun2); took > 0 {
			t.Errorf("the next: answered after %s", took)
		}
		if u := wantUnknown(t, <-sent); u.Seq != 0 || u.OpID != shardlog.OpID(d.batches[0].ID, 0) {
			t.Errorf("got %+v", u)
		}
		if took := time.Since(begun); took < 60*time.Second || took > 61*time.Second {
			t.Errorf("given up after %s", took)
		}
		for _, b := range d.batches {
			if b.ID != d.batches[0].ID {
				t.Fatal("what was refused is sent all the same")
			}
		}
	})
}

func TestDo_LateResultsAreGivenUp(t *testing.T) {
	d := &fakeBus{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 77, nil }}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		begun := time.Now()
		u := wantUnknown(t, <-do(t.Context(), w, 1))
		if u.Seq != 77 {
			t.Errorf("it lies at %d", u.Seq)
		}
		if took := time.Since(begun); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("given up after %s", took)
		}
		if d.asked < 15 || d.asked > 30 {
			t.Errorf("asked %d times in 30 seconds", d.asked)
		}
		d.publishResults(d.batches[0], 77) // and is no harm
	})
}

func TestDo_CallersWhoLeave(t *testing.T) {
	d := &fakeBus{}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		acks := d.acknowledged()
		leaving, leave := context.WithCancelCause(t.Context())
		sent := do(leaving, w, 1) // alone in its batch
		stays1, leaves1, stays2 := do(t.Context(), w, 2), do(leaving, w, 3), do(t.Context(), w, 4)
		why := errors.New("the client is gone")
		leave(why)
		synctest.Wait()
		err := <-leaves1
		if !errors.Is(err, why) || errors.Is(err, events.ErrUnknownOutcome) {
			t.Fatalf("who left before it was sent: %v", err)
		}
		if u := wantUnknown(t, <-sent); !errors.Is(u, why) {
			t.Fatalf("who left after it was sent: %v", u)
		}
		acks <- 1
		acks <- 2
		notYet(t, stays1)
		d.publishResults(d.batches[0], 1)
		d.publishResults(d.batches[1], 2)
		for _, c := range []<-chan error{stays1, stays2} {
			if err := <-c; err != nil {
				t.Fatal(err)
			}
		}
		if ops := d.batches[1].Ops; len(ops) != 2 || ops[0].Rows[0].Key() != 2 || ops[1].Rows[0].Key() != 4 {
			t.Errorf("the second batch has %+v", ops)
		}
	})
}

func TestDoFor_EndsInTime(t *testing.T) {
	d := &fakeBus{}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		acks := d.acknowledged()
		begun := time.Now()
		one := func(key int64, limit time.Duration) <-chan error {
			done := make(chan error, 1)
			go func() {
				r, err := w.DoFor(limit, theLog, insert(key))
				if want := shardlog.OpID(d.batches[len(d.batches)-1].ID, 0); err == nil && r.OpID() != want {
					err = fmt.Errorf("it was op %s, want %s", r.OpID(), want)
				}
				done <- err
			}()
			synctest.Wait()
			return done
		}
		sent := one(1, 2*time.Second) // alone in its batch
		waits, stays := one(2, time.Second), one(3, time.Hour)

		err := <-waits
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, events.ErrUnknownOutcome) {
			t.Errorf("what was not sent in time: %v", err)
		}
		if u := wantUnknown(t, <-sent); !errors.Is(u, context.DeadlineExceeded) || u.OpID != shardlog.OpID(d.batches[0].ID, 0) {
			t.Errorf("what was sent: %v", u)
		}
		if took := time.Since(begun); took < 2*time.Second || took > 2*time.Second+oplog.DefaultConfig().LookupAfter/4 {
			t.Errorf("it took %s", took)
		}
		acks <- 1
		d.publishResults(d.batches[0], 1) // nobody waits for it
		acks <- 2
		notYet(t, stays)
		d.publishResults(d.batches[1], 2)
		if err := <-stays; err != nil {
			t.Error(err)
		}
		if ops := d.batches[1].Ops; len(ops) != 1 || ops[0].Rows[0].Key() != 3 {
			t.Errorf("the second batch has %+v", ops)
		}
		again := one(4, time.Hour) // on what the one before left behind
		acks <- 3
		notYet(t, again)
		d.publishResults(d.batches[2], 3)
		if err := <-again; err != nil {
			t.Error(err)
		}
	})
}
