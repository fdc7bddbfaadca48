package oplog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/oplog"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// history is the answers that callers got, by key.
type history struct {
	mu                        sync.Mutex
	acked, unknown, notStored []int64
	opIDs                     map[int64]string
}

func (h *history) note(t testing.TB, key int64, r oplog.Result, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opIDs == nil {
		h.opIDs = map[int64]string{}
	}
	var unknown *oplog.Unknown
	switch {
	case err == nil && r.Outcome == shardlog.Done && r.Seq > 0:
		h.acked = append(h.acked, key)
		h.opIDs[key] = r.OpID()
	case errors.As(err, &unknown) && errors.Is(err, events.ErrUnknownOutcome):
		h.unknown = append(h.unknown, key)
		h.opIDs[key] = unknown.OpID
	case err != nil && !errors.Is(err, events.ErrUnknownOutcome):
		h.notStored = append(h.notStored, key)
	default:
		t.Errorf("key %d: %+v, %v", key, r, err)
	}
}

// check compares the answers with what the log holds.
func (h *history) check(t testing.TB, a *applier) {
	t.Helper()
	a.upTo(t)
	_, times := a.where()
	f := func(keys []int64, minimum, maximum int, outcome string) {
		t.Helper()
		for _, key := range keys {
			if n := times[key]; n < minimum || n > maximum {
				t.Errorf("key %d (op %s) was %s and is in the log %d times", key, h.opIDs[key], outcome, n)
			}
		}
	}
	f(h.acked, 1, 1, "acknowledged")
	f(h.unknown, 0, 1, "unknown")
	f(h.notStored, 0, 0, "not stored")
	if answered := len(h.acked) + len(h.unknown) + len(h.notStored); len(times) > answered {
		t.Errorf("%d keys are in the log, %d were written", len(times), answered)
	}
	// An op id names the batch that the op is in.
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range h.acked {
		batch, i, err := shardlog.ParseOpID(h.opIDs[key])
		if err != nil || a.known[batch].Ops <= i {
			t.Errorf("key %d: op id %q names nothing in the log (%v)", key, h.opIDs[key], err)
		}
	}
	t.Logf("%d acknowledged, %d unknown, %d not stored; %d batches, %d repeats, largest %d bytes, asked %d times",
		len(h.acked), len(h.unknown), len(h.notStored), a.batches, a.repeats, a.largest, a.asked)
}

// write has callers write unique keys, one after another each, until again
// reports false.
func write(t testing.TB, w *oplog.Writer, callers int, h *history, again func(n int64) bool) {
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			for n := int64(0); again(n); n++ {
				key := int64(i)<<32 + n
				r, err := w.Do(context.Background(), theLog, insert(key))
				h.note(t, key, r, err)
			}
		})
	}
	wait.Wait()
}

func TestDo_CoalescesAndKeepsOrder(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	a := apply(t, testkit.Connect(t, srv.URL()), theLog)
	w, _ := run(t, oplog.DefaultConfig(), c, c, a)
	var h history
	const callers, each = 64, 50
	write(t, w, callers, &h, func(n int64) bool { return n < each })
	h.check(t, a)
	if len(h.acked) != callers*each {
		t.Errorf("%d of %d ops are acknowledged", len(h.acked), callers*each)
	}
	at, _ := a.where()
	for i := range int64(callers) {
		for n := range int64(each - 1) {
			if at[i<<32+n] > at[i<<32+n+1] {
				t.Fatalf("caller %d: write %d is behind the next", i, n)
			}
		}
	}
	// All callers but those of the batch on its way wait for the next one: a
	// batch has half of them. Half of that is asked for here.
	if mean := float64(callers*each) / float64(a.batches); mean < callers/4 {
		t.Errorf("a batch holds %.1f ops of %d callers", mean, callers)
	}
}

func TestDo_OneCallerWaitsForNobody(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	a := apply(t, testkit.Connect(t, srv.URL()), theLog)
	cfg := oplog.DefaultConfig()
	w, _ := run(t, cfg, c, c, a)
	fastest, slowest := time.Hour, time.Duration(0)
	for key := range int64(50) {
		begun := time.Now()
		if _, err := w.Do(testkit.Context(t), theLog, insert(key)); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begun)
		fastest, slowest = min(fastest, took), max(slowest, took)
	}
	if fastest > 100*time.Millisecond {
		t.Errorf("the fastest of 50 writes took %s", fastest)
	}
	if a.asked > 0 && slowest < cfg.LookupAfter {
		t.Errorf("asked %d times for what was published", a.asked)
	}
}

func TestDo_SecondWriteOfAKeyIsADuplicate(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	w, _ := run(t, oplog.DefaultConfig(), c, c, apply(t, testkit.Connect(t, srv.URL()), theLog))
	for _, want := range []shardlog.Outcome{shardlog.Done, shardlog.Duplicate} {
		if r, err := w.Do(testkit.Context(t), theLog, insert(7)); err != nil || r.Outcome != want {
			t.Fatalf("got %+v, %v, want %s", r, err, want)
		}
	}
}

// The bus is killed again and again while 16 callers write.
func TestDo_OverAKilledBus(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	a := apply(t, testkit.Connect(t, srv.URL()), theLog)
	cfg := oplog.DefaultConfig()
	cfg.LookupAfter = 100 * time.Millisecond
	w, _ := run(t, cfg, c, c, a)
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	var h history
	killing, enough := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	callers.Go(func() { write(t, w, 16, &h, func(int64) bool { return killing.Err() == nil }) })
	for range 6 {
		h.grows(t, 50+random.IntN(300))
		srv.Kill()
		srv.Start()
	}
	h.grows(t, 50)
	enough()
	callers.Wait()
	h.check(t, a)
	if len(h.unknown) > 0 {
		t.Errorf("%d outcomes are unknown though the bus came back", len(h.unknown))
	}
}

// grows waits until n more ops are acknowledged.
func (h *history) grows(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.acked)
	}
	want := count() + n
	testkit.Eventually(t, func() error {
		if got := count(); got < want {
			return fmt.Errorf("%d of %d ops are acknowledged", got, want)
		}
		return nil
	})
}

// Callers with little patience leave while the bus is killed.
func TestDo_ImpatientCallersOverAKilledBus(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	a := apply(t, testkit.Connect(t, srv.URL()), theLog)
	cfg := oplog.DefaultConfig()
	cfg.Patience, cfg.LookupAfter = 50*time.Millisecond, 50*time.Millisecond
	w, _ := run(t, cfg, c, c, a)
	var h history
	killing, enough := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for i := range 32 {
		callers.Go(func() {
			unit := time.Millisecond
			if i%4 == 0 {
				unit = 50 * time.Millisecond // where the bus is slow, some are answered all the same
			}
			for n := int64(0); killing.Err() == nil; n++ {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+(n+int64(i))%20)*unit)
				key := int64(i)<<32 + n
				r, err := w.Do(ctx, theLog, insert(key))
				h.note(t, key, r, err)
				if cancel(); err != nil {
					<-time.After(time.Millisecond) // a client that backs off
				}
			}
		})
	}
	for range 3 {
		h.grows(t, 100)
		srv.Kill()
		srv.Start()
	}
	h.grows(t, 100)
	enough()
	callers.Wait()
	h.check(t, a)
	if len(h.notStored) == 0 || len(h.unknown) == 0 {
		t.Error("nobody left too early: the test tests nothing")
	}
}

// forgetful loses acknowledgements.
type forgetful struct {
	*bus.Conn
	lost atomic.Int64
}

func (f *forgetful) Append(ctx context.Context, id events.LogID, batch string, data []byte) (uint64, error) {
	seq, err := f.Conn.Append(ctx, id, batch, data)
	if err == nil && rand.IntN(2) == 0 {
		f.lost.Add(1)
		return 0, events.ErrUnknownOutcome
	}
	return seq, err
}

func TestDo_LostAcknowledgements(t *testing.T) {
	f := func(t *testing.T, mute bool) {
		srv := testkit.StartBusProcess(t)
		c := &forgetful{Conn: testkit.Connect(t, srv.URL())}
		createLog(t, c.Conn, theLog)
		a := apply(t, testkit.Connect(t, srv.URL()), theLog)
		a.setMute(mute)
		cfg := oplog.DefaultConfig()
		cfg.LookupAfter = 50 * time.Millisecond
		w, _ := run(t, cfg, c, c, a)
		var h history
		write(t, w, 8, &h, func(n int64) bool { return n < 20 })
		h.check(t, a)
		if len(h.acked) != 8*20 || c.lost.Load() == 0 {
			t.Errorf("%d of %d ops are acknowledged, %d acknowledgements were lost", len(h.acked), 8*20, c.lost.Load())
		}
		if mute && a.asked == 0 {
			t.Error("nobody was asked for results that were not published")
		}
	}
	t.Run("results come", func(t *testing.T) { f(t, false) })
	t.Run("results are lost too", func(t *testing.T) { f(t, true) })
}

// The writer finds out that the log is another one from the acknowledgement of
// its first batch, which is in the new log then. What follows is refused.
func TestDo_AnotherIncarnation(t *testing.T) {
	w, second, a := anotherIncarnation(t, true)
	var h history
	r, err := w.Do(testkit.Context(t), theLog, insert(2))
	h.note(t, 2, r, err)
	wantUnknown(t, err)
	r, err = w.Do(testkit.Context(t), theLog, insert(3))
	h.note(t, 3, r, err)
	if !errors.Is(err, events.ErrLogForeign) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v, want a refusal for a foreign log", err)
	}
	wantCode(t, err, 503)
	a.setMute(false)
	if r, err = w.Do(testkit.Context(t), second, insert(4)); err != nil || r.Outcome != shardlog.Done {
		t.Fatalf("in the new life: %+v, %v", r, err)
	}
	h.note(t, 4, r, err)
	h.check(t, a)
}

// Results may come before an acknowledgement, which then shows nobody the other log.
// They decide the ops all the same: each one acknowledged is in the log once.
func TestDo_ResultsOfAnotherIncarnation(t *testing.T) {
	w, second, a := anotherIncarnation(t, false)
	var h history
	for key := range int64(20) {
		r, err := w.Do(testkit.Context(t), theLog, insert(2+key))
		h.note(t, 2+key, r, err)
	}
	r, err := w.Do(testkit.Context(t), second, insert(100))
	if err != nil || r.Outcome != shardlog.Done {
		t.Fatalf("in the new life: %+v, %v", r, err)
	}
	h.note(t, 100, r, err)
	h.check(t, a)
}

// anotherIncarnation is a writer that has written key 1 to a log which was then
// deleted and made anew, without a reconnect, and the applier of the new one. Where
// the appliers are mute, no append ends by results before its acknowledgement: the
// writer knows the seq of key 1, and the one that follows in the new log.
func anotherIncarnation(t *testing.T, mute bool) (w *oplog.Writer, second events.LogID, a *applier) {
	t.Helper()
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	first := apply(t, testkit.Connect(t, srv.URL()), theLog)
	first.setMute(mute)
	cfg := oplog.DefaultConfig()
	cfg.LookupAfter = 50 * time.Millisecond // after the acknowledgement
	w, _ = run(t, cfg, c, c, first)
	if _, err := w.Do(testkit.Context(t), theLog, insert(1)); err != nil {
		t.Fatal(err)
	}
	admin := testkit.Connect(t, srv.URL())
	if err := admin.DeleteLog(testkit.Context(t), theLog); err != nil {
		t.Fatal(err)
	}
	second = theLog
	second.Incarnation = "second"
	createLog(t, admin, second)
	a = apply(t, testkit.Connect(t, srv.URL()), second)
	a.setMute(mute)
	return w, second, a
}

func TestDo_MissingLog(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	cfg := oplog.DefaultConfig()
	cfg.Patience = 100 * time.Millisecond
	w, _ := run(t, cfg, c, c, nobody{})
	_, err := w.Do(testkit.Context(t), theLog, insert(1))
	if !errors.Is(err, events.ErrLogMissing) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("got %v", err)
	}
	wantCode(t, err, 503)
}

func TestDo_FullLog(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.LogBytes = srv.URL(), 4000
	c, err := bus.Connect(testkit.Context(t), cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	createLog(t, c, theLog)
	a := apply(t, testkit.Connect(t, srv.URL()), theLog)
	w, stop := run(t, oplog.DefaultConfig(), c, c, a)
	defer stop()
	var h history
	write(t, w, 4, &h, func(n int64) bool { return n < 30 })
	h.check(t, a)
	if len(h.notStored) == 0 || len(h.unknown) > 0 {
		t.Fatalf("a full log: %d not stored, %d unknown", len(h.notStored), len(h.unknown))
	}
	for key := int64(1 << 60); err == nil; key++ { // one op may fit where four did not
		_, err = w.Do(testkit.Context(t), theLog, insert(key))
	}
	if !errors.Is(err, events.ErrLogFull) {
		t.Fatalf("got %v", err)
	}
	wantCode(t, err, 503)
	s, err := c.Log(theLog).State(testkit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Log(theLog).Purge(testkit.Context(t), s.Last); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Do(testkit.Context(t), theLog, insert(1<<60)); err != nil {
		t.Fatalf("after a purge: %v", err)
	}
}
