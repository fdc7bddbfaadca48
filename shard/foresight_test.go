package shard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/lab/rig"
	"ringway/shard"
)

// slow keeps transactions to itself until told otherwise.
type slow struct {
	shard.Store
	applies chan int      // entries of one that begins
	on      chan struct{} // lets one go on
}

func (s *slow) Apply(ctx context.Context, from events.Position, entries []events.LogEntry) ([]events.Results, error) {
	select {
	case s.applies <- len(entries):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-s.on:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Store.Apply(ctx, from, entries)
}

// results are those that writer w1 is told.
func (s *site) results() <-chan events.Results {
	s.t.Helper()
	told := make(chan events.Results, 10_000)
	stop, err := s.conn.Listen(events.AllResults("w1"), func(_ string, data []byte) {
		if r, err := events.DecodeResults(data); err == nil {
			told <- r
		}
	})
	rig.Must(s.t, err)
	s.t.Cleanup(stop)
	return told
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(rig.Patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestApplier_AnswersBeforeItApplies(t *testing.T) {
	s := newSite(t)
	store := &slow{s.store, make(chan int), make(chan struct{})}
	cfg := shard.DefaultApplierConfig()
	cfg.Gather = time.Hour
	told := s.results()
	a, _ := apply(t, cfg, store, s)
	for k := range int64(5) {
		s.append(k)
		if r := next(t, told); r.Batch != fmt.Sprintf("b%d", k) || r.Op(0).Outcome != events.Done {
			t.Fatalf("got %+v", r)
		}
	}
	if at := a.Applied(); at.Seq != 0 {
		t.Fatalf("it has applied %d", at.Seq)
	}
	// Somebody who wants to read does not wait for an hour.
	waited := make(chan error)
	go func() { waited <- a.Wait(t.Context(), 5) }()
	if n := next(t, store.applies); n != 5 {
		t.Fatalf("a transaction of %d, want 5", n)
	}
	store.on <- struct{}{}
	rig.Must(t, <-waited)
	s.wantRows(5)
}

// An applier that dies after it has answered, and before it has applied, does
// both again.
func TestApplier_TellsAgainWhatItDidNotApply(t *testing.T) {
	s := newSite(t)
	store := &slow{s.store, make(chan int), make(chan struct{})}
	cfg := shard.DefaultApplierConfig()
	cfg.Gather = time.Hour
	told := s.results()
	_, stop := apply(t, cfg, store, s)
	s.append(0)
	s.append(1)
	first := []events.Results{next(t, told), next(t, told)}
	rig.Must(t, stop())
	s.wantRows(0)

	a, _ := apply(t, shard.DefaultApplierConfig(), s.store, s)
	s.wait(a, 2)
	for i := range first {
		if r := next(t, told); r.Batch != first[i].Batch || r.Seq != first[i].Seq || r.Op(0).Outcome != events.Done {
			t.Errorf("told %+v first and %+v then", first[i], r)
		}
	}
	s.wantRows(2)
}

// What was told is applied when somebody waits for it, however much comes
// meanwhile: here a next batch is there before each look ends.
func TestApplier_ASteadyLogHoldsUpNobody(t *testing.T) {
	s := newSite(t)
	cfg := shard.DefaultApplierConfig()
	cfg.Gather, cfg.GatherMost = time.Hour, time.Hour
	log := steady{make(chan struct{}), make(chan struct{})}
	a := shard.NewApplier(cfg, &feeding{s.store, log}, log, silent{}, rig.Quiet)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	s.wait(a, 1)
	if at := a.Applied(); at.Seq >= uint64(cfg.MaxEntries) {
		t.Errorf("it was applied only with all that fits, at %d", at.Seq)
	}
	cancel()
	rig.Must(t, <-ended)
}

// steady is a log whose next batch comes when it is asked for.
type steady struct{ ask, came chan struct{} }

func (l steady) Read(ctx context.Context, after events.Position, fn func(seq uint64, at time.Time, data []byte) error) error {
	for seq := after.Seq + 1; ; seq++ {
		body := fmt.Sprintf(`{"id":"b%d","writer":"w1","table":%q,"shard":%q,"ops":[{"op":"barrier"}]}`, seq, spec.Table, spec.Shard.ID)
		if err := fn(seq, time.Now(), []byte(body)); err != nil {
			return nil //nolint:nilerr // it is the end of ctx
		}
		if seq > after.Seq+1 && !rendezvous(ctx, l.came) {
			return nil
		}
		if !rendezvous(ctx, l.ask) {
			return nil
		}
	}
}

func rendezvous(ctx context.Context, c chan<- struct{}) bool {
	select {
	case c <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// feeding asks for the next batch in each look.
type feeding struct {
	shard.Store
	log steady
}

func (f *feeding) Look(ctx context.Context, at events.Position, keys []int64, batches []string) ([]int64, bool, error) {
	for _, c := range []chan struct{}{f.log.ask, f.log.came} {
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
	return f.Store.Look(ctx, at, keys, batches)
}

type silent struct{}

func (silent) Publish(string, any) error { return nil }

// Readers that take their time hold up no writer.
func TestApplier_SlowReadersHoldUpNoWriter(t *testing.T) {
	s := newSite(t)
	a, _ := apply(t, shard.DefaultApplierConfig(), s.store, s)
	s.append(0)
	s.wait(a, 1)
	var readers sync.WaitGroup
	began, on := make(chan struct{}), make(chan struct{})
	for range 8 { // as many as may read at once
		readers.Go(func() {
			_, _ = s.store.Range(t.Context(), 0, 100, func(events.Row) error { began <- struct{}{}; <-on; return nil })
		})
	}
	for range 8 {
		next(t, began)
	}
	s.append(1)
	s.wait(a, 2)
	close(on)
	readers.Wait()
}

// A graceful end leaves nothing told that is not applied.
func TestApplier_AppliesWhatItHasToldAtItsEnd(t *testing.T) {
	s := newSite(t)
	cfg := shard.DefaultApplierConfig()
	cfg.Gather = time.Hour
	told := s.results()
	_, stop := apply(t, cfg, s.store, s)
	s.append(0)
	next(t, told)
	s.wantRows(0)
	rig.Must(t, stop())
	s.wantRows(1)
}

// When the log goes away, what was answered is applied, for there may never be
// another copy of it.
func TestApplier_AppliesWhatItHasToldWhenTheLogEnds(t *testing.T) {
	s := newSite(t)
	cfg := shard.DefaultApplierConfig()
	cfg.Gather = time.Hour
	told := s.results()
	a, _ := apply(t, cfg, s.store, s)
	s.append(0)
	next(t, told)
	rig.Must(t, s.conn.DeleteLog(t.Context(), events.LogID{Table: spec.Table, Shard: spec.Shard.ID, Incarnation: "life1"}))
	rig.Eventually(t, func() error {
		if at := a.Applied(); at.Seq != 1 {
			return fmt.Errorf("at %s", at)
		}
		return nil
	})
	s.wantRows(1)
}

// Whatever the log says, what is told ahead is what comes of it: the applier
// would halt if not, and the store keeps the same.
func TestApplier_ToldIsWhatComesTrue(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 7))
	s := newSite(t)
	cfg := shard.DefaultApplierConfig()
	cfg.MaxEntries = 16
	told := s.results()
	a, stop := apply(t, cfg, s.store, s)
	const batches = 600
	ahead := 0 // answers that came before their transaction
	for i := range batches {
		id := fmt.Sprintf("b%d", i)
		if rng.IntN(20) == 0 && i > 0 {
			id = fmt.Sprintf("b%d", rng.IntN(i)) // one that a writer sends again, long after
		}
		body, err := json.Marshal(events.Batch{ID: id, Writer: "w1", Table: spec.Table, Shard: spec.Shard.ID, Ops: someOps(rng)})
		rig.Must(t, err)
		_, err = s.log.Append(rig.Context(t), fmt.Sprintf("message %d", i), body)
		rig.Must(t, err)
		if len(told) > int(a.Applied().Seq) {
			ahead++
		}
		if rng.IntN(40) == 0 {
			s.wait(a, uint64(i+1))
		}
	}
	s.wait(a, batches)
	rig.Must(t, stop())
	outcomes := map[events.Outcome]int{}
	for range batches {
		r := next(t, told)
		kept, err := s.store.Results(t.Context(), r.Batch)
		rig.Must(t, err)
		if got, want := shown(t, r), shown(t, kept); got != want {
			t.Errorf("told %s, kept %s", got, want)
		}
		for i := range r.Ops {
			outcomes[r.Op(i).Outcome]++
		}
	}
	if ahead == 0 {
		t.Error("nobody was told anything ahead")
	}
	for _, o := range []events.Outcome{events.Done, events.Duplicate, events.Missing, events.Mismatch} {
		if outcomes[o] == 0 {
			t.Errorf("no op was %s: %v", o, outcomes)
		}
	}
}

func shown(t *testing.T, r events.Results) string {
	b, err := json.Marshal(r)
	rig.Must(t, err)
	return string(b)
}

func someOps(rng *rand.Rand) []events.Op {
	ops := make([]events.Op, 1+rng.IntN(4))
	for i := range ops {
		key := rng.Int64N(12)
		row := events.Row{events.Int(key), events.Text(fmt.Sprint(rng.IntN(100)))}
		switch rng.IntN(8) {
		case 0, 1, 2:
			ops[i] = events.Op{Kind: events.OpInsert, Rows: []events.Row{row}}
		case 3, 4:
			ops[i] = events.Op{Kind: events.OpUpdate, Rows: []events.Row{row}}
		case 5, 6:
			ops[i] = events.Op{Kind: events.OpDelete, Key: &key}
		default:
			ops[i] = events.Op{Kind: []string{events.OpBarrier, events.OpDigest}[rng.IntN(2)]}
		}
		if rng.IntN(12) == 0 {
			ops[i].Idempotency = &events.Idempotency{Key: fmt.Sprint(rng.IntN(3)), Body: fmt.Sprint(rng.IntN(2))}
		}
	}
	return ops
}
