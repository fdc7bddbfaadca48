package apply

import (
	"slices"
	"testing"
	"testing/synctest"

	"ringway/events/shardlog"
)

// queued is a queue of 100 bytes, and what was taken of it so far, by seq.
type queued struct {
	*readAhead
	taken chan []uint64
}

func newQueued() *queued { return &queued{newReadAhead(100, nil), make(chan []uint64, 10)} }

func (q *queued) take(n int) {
	go func() {
		var seqs []uint64
		for _, e := range q.readAhead.take(n) {
			seqs = append(seqs, e.Seq)
		}
		q.taken <- seqs
	}()
}

func (q *queued) put(t *testing.T, seq uint64, size int, more bool) <-chan error {
	done := make(chan error, 1)
	go func() { done <- q.readAhead.put(t.Context(), shardlog.Entry{Seq: seq}, size, more) }()
	synctest.Wait()
	return done
}

func (q *queued) want(t *testing.T, seqs ...uint64) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-q.taken:
		if !slices.Equal(got, seqs) {
			t.Fatalf("took %d, want %d", got, seqs)
		}
	default:
		t.Fatalf("took nothing, want %d", seqs)
	}
}

func (q *queued) wantNothing(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-q.taken:
		t.Fatalf("took %d, want nothing yet", got)
	default:
	}
}

func TestReadAhead_IsTakenByFetchBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueued()
		q.take(10)
		for seq := range uint64(3) {
			q.put(t, seq, 1, true)
			q.wantNothing(t)
		}
		q.put(t, 3, 1, false)
		q.want(t, 0, 1, 2, 3)
		q.take(10)
		q.wantNothing(t)
		q.put(t, 4, 1, false)
		q.want(t, 4)
	})
}

// A fetch batch that has no space is taken in parts, else both would wait forever.
func TestReadAhead_GivesWhatThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueued()
		q.take(10)
		q.put(t, 1, 60, true)
		q.wantNothing(t)
		two := q.put(t, 2, 60, true)
		q.want(t, 1)
		if err := <-two; err != nil {
			t.Fatal(err)
		}
		q.take(10)
		q.wantNothing(t) // there is space again, and more to come
		q.put(t, 3, 30, true)
		q.wantNothing(t)
		four := q.put(t, 4, 30, false)
		q.want(t, 2, 3)
		if err := <-four; err != nil {
			t.Fatal(err)
		}
		q.take(10)
		q.want(t, 4)
	})
}

func TestReadAhead_IsTakenInPartsOfALot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueued()
		for seq := range uint64(5) {
			q.put(t, seq, 1, seq < 4)
		}
		q.take(3)
		q.want(t, 0, 1, 2)
		q.take(3)
		q.want(t, 3, 4)
	})
}

func TestReadAhead_GivesTheRestOfALotWhenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueued()
		q.take(10)
		q.put(t, 1, 60, true)
		q.wantNothing(t)
		q.close()
		q.want(t, 1)
		q.take(10)
		q.want(t)
		if err := <-q.put(t, 2, 1, false); err == nil {
			t.Error("put into a closed queue")
		}
	})
}

func TestReadAhead_CloseWakesWhoPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueued()
		q.put(t, 1, 60, true)
		two := q.put(t, 2, 60, true)
		q.drop()
		if err := <-two; err == nil {
			t.Error("put into a closed queue")
		}
		q.take(10)
		q.want(t)
	})
}

func TestReadAhead_SharesABudget(t *testing.T) {
	budget := &Budget{Bytes: 100}
	a, b := newReadAhead(1000, budget), newReadAhead(1000, budget)
	for _, w := range []*readAhead{a, b} { // one each always fits
		if err := w.put(t.Context(), shardlog.Entry{}, 90, false); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() { done <- a.put(t.Context(), shardlog.Entry{}, 10, false) }()
	b.take(1)
	a.take(1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	a.drop()
	b.drop()
	if used := budget.used.Load(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
}
