package oplog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringway/events"
	"ringway/events/oplog"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	var refusal *events.StatusError
	if !errors.As(err, &refusal) || refusal.Code != code || errors.Is(err, events.ErrUnknownOutcome) {
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

// desk stands for the bus where a test sets the pace: each append waits for
// its answer, and the test says what is heard.
type desk struct {
	answer func(ctx context.Context, n int, b shardlog.Batch) (uint64, error) // of append n, from 0

	mu      sync.Mutex
	batches []shardlog.Batch
	raw     []string
	hear    func(string, []byte)
	asked   int
}

func (d *desk) Append(ctx context.Context, id events.LogID, batch string, data []byte) (uint64, error) {
	b, err := shardlog.DecodeBatch(data)
	if err != nil {
		panic(err)
	}
	if b.ID != batch || b.Table != id.Table || b.Shard != id.Shard {
		panic(fmt.Sprintf("batch %s in log %s says it is %s of %s.%s", batch, id, b.ID, b.Table, b.Shard))
	}
	d.mu.Lock()
	n := len(d.batches)
	d.batches = append(d.batches, b)
	d.raw = append(d.raw, string(data))
	d.mu.Unlock()
	return d.answer(ctx, n, b)
}

// seen are the batches that have come.
func (d *desk) seen() []shardlog.Batch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.batches)
}

func (d *desk) Listen(_ string, fn func(string, []byte)) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hear = fn
	return func() {}, nil
}

func (d *desk) Results(context.Context, events.LogID, string) (shardlog.Results, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return shardlog.Results{}, events.ErrNotFound
}

// tell publishes that all of a batch is done.
func (d *desk) tell(b shardlog.Batch, seq uint64) {
	d.say(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Seq: seq, Ops: len(b.Ops)})
}

func (d *desk) say(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	d.mu.Lock()
	hear := d.hear
	d.mu.Unlock()
	hear("", data)
}

// away is an append that hangs until its context ends.
func away(ctx context.Context, _ int, _ shardlog.Batch) (uint64, error) {
	<-ctx.Done()
	return 0, fmt.Errorf("%w: %w", events.ErrUnknownOutcome, ctx.Err())
}

// acknowledged lets the test acknowledge appends, one by one.
func (d *desk) acknowledged() chan<- uint64 {
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

// bubble runs a writer on a desk in a bubble of virtual time.
func bubble(t *testing.T, d *desk, change func(*oplog.Config), test func(t *testing.T, w *oplog.Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := oplog.DefaultConfig()
		if change != nil {
			change(&cfg)
		}
		w, err := oplog.New(cfg, d, d, d, testkit.Log(t))
		if err != nil {
			t.Fatal(err)
		}
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

func TestDo_RefusesWhatCannotBe(t *testing.T) {
	cfg := oplog.DefaultConfig()
	cfg.Patience = 10 * time.Millisecond
	w, err := oplog.New(cfg, &desk{}, &desk{}, &desk{}, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	big := insert(1)
	for range 20 {
		big.Rows = append(big.Rows, rowjson.Row{rowjson.Int(2), rowjson.Text(strings.Repeat("x", 60_000)), rowjson.Int(1)})
	}
	f := func(op *shardlog.Op, code int) {
		t.Helper()
		_, err := w.Do(t.Context(), theLog, op)
		wantCode(t, err, code)
	}
	f(&shardlog.Op{Kind: "drop"}, 400)
	f(&shardlog.Op{Kind: shardlog.OpInsert}, 400)
	f(big, 413)
	f(insert(1), 503) // it does not run
	if w.Running() {
		t.Error("it runs")
	}
	_, err = w.DoFor(time.Hour, theLog, insert(1))
	wantCode(t, err, 503)
	if _, err := w.Do(t.Context(), events.LogID{Table: "x"}, insert(1)); err == nil {
		t.Error("wrote to no log")
	}
}

// A router that starts has clients before it hears.
func TestDo_WaitsForAWriterThatStarts(t *testing.T) {
	d := &desk{}
	synctest.Test(t, func(t *testing.T) {
		d.answer = func(_ context.Context, n int, b shardlog.Batch) (uint64, error) {
			d.tell(b, uint64(n)+1)
			return uint64(n) + 1, nil
		}
		w, err := oplog.New(oplog.DefaultConfig(), d, d, d, testkit.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		done := do(t.Context(), w, 1)
		notYet(t, done)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		if err := <-done; err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		wantCode(t, <-do(t.Context(), w, 2), 503) // it has ended
	})
}

func TestNew_RefusesImpossibleSettings(t *testing.T) {
	f := func(change func(*oplog.Config)) {
		t.Helper()
		cfg := oplog.DefaultConfig()
		change(&cfg)
		if _, err := oplog.New(cfg, &desk{}, &desk{}, &desk{}, testkit.Log(t)); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
	f(func(cfg *oplog.Config) { cfg.Writer = "" })
	f(func(cfg *oplog.Config) { cfg.BatchBytes = shardlog.MaxOpBytes + 1 })
	f(func(cfg *oplog.Config) { cfg.QueueOps = 0 })
	f(func(cfg *oplog.Config) { cfg.LookupAfter = 0 })
	f(func(cfg *oplog.Config) { cfg.MaxInFlight = 0 })
	f(func(cfg *oplog.Config) { cfg.Linger = -1 })
	f(func(cfg *oplog.Config) { cfg.DelayPerOp, cfg.QueueOps = time.Hour, 1<<22 }) // the product is no Duration
	f(func(cfg *oplog.Config) { cfg.Resend = shardlog.LogDedup })
}

// What is appended is what the contract says a batch is.
func TestDo_WritesBatchesOfTheContract(t *testing.T) {
	key := int64(-3)
	ops := []*shardlog.Op{
		insert(1),
		{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text("\"<é\u2028\\\x00")}}, Idempotency: &shardlog.Idempotency{Key: "k", Body: "b"}},
		{Kind: shardlog.OpDelete, Key: &key},
		{Kind: shardlog.OpBarrier},
	}
	d := &desk{answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) { return uint64(n + 1), nil }}
	bubble(t, d, func(cfg *oplog.Config) { cfg.Writer = "r\"1" }, func(t *testing.T, w *oplog.Writer) {
		for i, op := range ops {
			go func() { _, _ = w.Do(t.Context(), theLog, op) }()
			synctest.Wait()
			got := d.batches[i]
			want := shardlog.Batch{ID: got.ID, Writer: "r\"1", Table: "StudT", Shard: "sh1", Ops: []shardlog.Op{*op}}
			raw, err := json.Marshal(want)
			if err != nil || d.raw[i] != string(raw) || !reflect.DeepEqual(got, want) {
				t.Errorf("wrote %s, want %s (%v)", d.raw[i], raw, err)
			}
			d.tell(got, uint64(i+1))
		}
	})
}

func TestDo_OneAppendAtATime(t *testing.T) {
	d := &desk{}
	bubble(t, d, func(cfg *oplog.Config) { cfg.BatchBytes, cfg.DelayPerOp = 200, 0 }, func(t *testing.T, w *oplog.Writer) {
		acks := d.acknowledged()
		var done []<-chan error
		for key := range int64(11) {
			done = append(done, do(t.Context(), w, key))
		}
		for seq := uint64(1); seq <= 3; seq++ {
			synctest.Wait()
			if len(d.batches) != int(seq) {
				t.Fatalf("%d appends after %d acknowledgements", len(d.batches), seq-1)
			}
			b := d.batches[seq-1] // the acknowledgement lets the next one follow
			acks <- seq
			d.tell(b, seq)
		}
		for _, c := range done {
			if err := <-c; err != nil {
				t.Fatal(err)
			}
		}
		var sizes []int
		for i, b := range d.batches {
			if sizes = append(sizes, len(b.Ops)); i > 0 && len(d.raw[i]) > 200+200 {
				t.Errorf("a batch has %d bytes", len(d.raw[i]))
			}
		}
		if fmt.Sprint(sizes) != "[1 5 5]" { // 39 or 40 bytes an op
			t.Errorf("batches of %v ops", sizes)
		}
	})
}

// group is clients of a writer in a bubble, and a test that says when their
// batches are answered.
type group struct {
	*desk
	t    *testing.T
	w    *oplog.Writer
	acks chan<- uint64
	key  int64
	open []<-chan error
}

const (
	pace     = 100 * time.Microsecond
	maxDelay = 10 * pace
	linger   = 50 * pace
)

func grouped(t *testing.T, change func(*oplog.Config), test func(t *testing.T, c *group)) {
	t.Helper()
	d := &desk{}
	paced := func(cfg *oplog.Config) {
		cfg.DelayPerOp, cfg.MaxDelay, cfg.Linger = pace, maxDelay, linger
		if change != nil {
			change(cfg)
		}
	}
	bubble(t, d, paced, func(t *testing.T, w *oplog.Writer) {
		c := &group{desk: d, t: t, w: w, acks: d.acknowledged()}
		test(t, c)
		for _, done := range c.open {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// begin has so many clients write.
func (c *group) begin(n int) {
	for range n {
		c.key++
		c.open = append(c.open, do(c.t.Context(), c.w, c.key))
	}
}

// reply acknowledges the last batch and tells its results.
func (c *group) reply() {
	c.t.Helper()
	last := len(c.seen())
	c.acknowledge()
	c.results(last)
}

func (c *group) acknowledge() {
	c.t.Helper()
	select {
	case c.acks <- uint64(len(c.seen())):
	case <-time.After(linger):
		c.t.Fatal("nothing is to be acknowledged")
	}
	synctest.Wait()
}

// results tells those of batch n, from 1.
func (c *group) results(n int) {
	c.tell(c.seen()[n-1], uint64(n))
	synctest.Wait()
}

// sent are the ops of each batch so far.
func (c *group) sent(ops ...int) {
	c.t.Helper()
	synctest.Wait()
	var got []int
	for _, b := range c.seen() {
		got = append(got, len(b.Ops))
	}
	if !slices.Equal(got, ops) {
		c.t.Fatalf("batches of %v ops, want %v", got, ops)
	}
}

// after sees that the next batch is sent when so much time has passed, of so
// many ops, and no earlier.
func (c *group) after(hold time.Duration, ops int) {
	c.t.Helper()
	var before []int
	for _, b := range c.seen() {
		before = append(before, len(b.Ops))
	}
	time.Sleep(hold - 1)
	c.sent(before...)
	time.Sleep(time.Nanosecond)
	c.sent(append(before, ops)...)
}

func TestDo_OneClientAloneIsNeverHeldUp(t *testing.T) {
	grouped(t, nil, func(t *testing.T, c *group) {
		begun := time.Now()
		c.begin(1)
		c.sent(1)
		c.reply()
		c.begin(1)
		c.sent(1, 1)
		c.results(2) // and no acknowledgement
		c.begin(1)
		c.sent(1, 1, 1)
		c.reply()
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDo_ClientsThatOverlapShareABatch(t *testing.T) {
	grouped(t, nil, func(t *testing.T, c *group) {
		c.begin(1)
		c.begin(1)
		c.sent(1)
		c.reply()
		time.Sleep(pace - 1)
		c.sent(1)
		c.begin(1) // the first one again
		c.sent(1, 2)
		for range 3 {
			c.reply()
			c.begin(1)
			time.Sleep(pace / 2)
			c.begin(1)
		}
		c.sent(1, 2, 2, 2, 2)
		c.reply()
	})
}

func TestDo_ACrowdThatIsBackIsSentAtOnce(t *testing.T) {
	grouped(t, nil, func(t *testing.T, c *group) {
		begun := time.Now()
		c.begin(20)
		c.reply()
		c.sent(1, 19)
		c.begin(1)
		c.reply()
		c.begin(16)
		c.sent(1, 19)
		c.begin(1) // nine tenths of twenty
		c.sent(1, 19, 18)
		c.begin(2)
		c.reply()
		c.begin(15)
		c.sent(1, 19, 18)
		c.begin(1) // with the two that were late
		c.sent(1, 19, 18, 18)
		c.reply()
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDo_ACrowdThatIsGoneHoldsUpOneBatch(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": 0, "soon": pace, "just in time": 3*pace - 1} {
		t.Run(name, func(t *testing.T) {
			grouped(t, nil, func(_ *testing.T, c *group) {
				c.begin(4)
				c.reply()
				c.begin(1)
				c.reply()
				c.begin(4)
				c.sent(1, 4, 4)
				c.reply()
				time.Sleep(late)
				c.begin(1)
				c.after(3*pace-late, 1) // since the answer
				c.reply()
				c.begin(1)
				c.sent(1, 4, 4, 1, 1)
				c.reply()
			})
		})
	}
	t.Run("too late", func(t *testing.T) {
		grouped(t, nil, func(_ *testing.T, c *group) {
			c.begin(4)
			c.reply()
			c.begin(1)
			c.sent(1, 4)
			c.reply()
			time.Sleep(3 * pace)
			c.begin(1)
			c.sent(1, 4, 1)
			c.reply()
		})
	})
}

// Clients that go one by one hold up those who stay for less and less.
func TestDo_ACrowdShrinks(t *testing.T) {
	grouped(t, nil, func(_ *testing.T, c *group) {
		c.begin(6)
		c.reply()
		c.begin(1)
		for n := 5; n > 0; n-- {
			c.reply()
			c.begin(n)
			c.after(time.Duration(n)*pace, n)
		}
		c.reply()
		c.begin(1)
		c.sent(1, 6, 5, 4, 3, 2, 1, 1)
		c.reply()
	})
}

func TestDo_NoCrowdIsWaitedForLonger(t *testing.T) {
	grouped(t, nil, func(_ *testing.T, c *group) {
		c.begin(30)
		c.reply()
		c.sent(1, 29)
		c.reply()
		c.begin(20)
		c.after(maxDelay, 20)
		c.reply()
		c.begin(11)
		c.after(maxDelay, 11)
		c.reply()
	})
}

func TestDo_WhereBatchesTakeLongACrowdMayToo(t *testing.T) {
	for _, f := range []struct{ took, hold time.Duration }{
		{maxDelay / 2, maxDelay},
		{maxDelay + 1, maxDelay + 1},
		{2 * maxDelay, 2 * maxDelay},
		{2 * linger, linger},
	} {
		t.Run(f.took.String(), func(t *testing.T) {
			grouped(t, nil, func(_ *testing.T, c *group) {
				c.begin(80)
				c.reply()
				c.sent(1, 79)
				time.Sleep(f.took)
				c.reply()
				c.begin(20)
				c.after(f.hold, 20)
				c.reply()
			})
		})
	}
}

func TestDo_GathersUntilTheAnswer(t *testing.T) {
	grouped(t, nil, func(_ *testing.T, c *group) {
		c.begin(1)
		c.acknowledge()
		time.Sleep(linger / 2)
		c.begin(5)
		time.Sleep(linger/2 - 1)
		c.sent(1)
		c.results(1)
		c.begin(1)
		c.sent(1, 6)
		c.reply()
	})
}

func TestDo_LingersNoLonger(t *testing.T) {
	grouped(t, nil, func(_ *testing.T, c *group) {
		c.begin(1)
		c.acknowledge()
		c.begin(2)
		c.after(linger, 2)
		c.begin(3)
		time.Sleep(2 * linger)
		c.sent(1, 2) // one append at a time
		c.acknowledge()
		c.results(1) // not of all
		c.after(linger, 3)
		c.acknowledge()
		time.Sleep(10 * linger)
		c.begin(1) // an op that comes later waits as long
		c.after(linger, 1)
		c.reply()
		c.results(2)
		c.results(3)
	})
}

func TestDo_AFullBatchIsSentAtOnce(t *testing.T) {
	full := func(cfg *oplog.Config) { cfg.BatchBytes = 400 } // ten ops
	grouped(t, full, func(t *testing.T, c *group) {
		begun := time.Now()
		c.begin(1)
		c.acknowledge()
		c.begin(10)
		c.sent(1) // which is unanswered
		c.begin(1)
		c.sent(1, 10)
		c.begin(19)
		c.results(1)
		c.reply()
		c.sent(1, 10, 10)
		c.reply()
		c.sent(1, 10, 10) // of a crowd of twenty ten are there
		c.begin(1)
		c.sent(1, 10, 10, 10)
		c.reply()
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %s", took)
		}
		time.Sleep(maxDelay)
		c.sent(1, 10, 10, 10, 1)
		c.reply()
	})
}

// Who has left is no reason to hold anybody up, nor to forget who has not.
func TestDo_CallersWhoLeaveACrowd(t *testing.T) {
	grouped(t, nil, func(t *testing.T, c *group) {
		leaving, leave := context.WithCancel(t.Context())
		c.begin(4)
		c.reply()
		c.begin(1)
		c.sent(1, 4)
		var left []<-chan error
		for key := range int64(3) {
			left = append(left, do(leaving, c.w, key))
		}
		leave()
		for _, done := range left {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		c.reply() // nobody is there
		time.Sleep(maxDelay)
		c.sent(1, 4)
		c.begin(1)
		c.sent(1, 4, 1)
		c.reply()
	})
}

// A crowd that was refused is not waited for by those who come much later.
func TestDo_AfterTheLogWasAwayNobodyIsHeldUp(t *testing.T) {
	grouped(t, nil, func(t *testing.T, c *group) {
		c.begin(8)
		c.reply()
		c.begin(1)
		c.sent(1, 8)
		served := c.answer
		c.answer = func(context.Context, int, shardlog.Batch) (uint64, error) { return 0, errors.New("away") }
		c.reply()
		var refused []<-chan error
		for key := range int64(8) {
			refused = append(refused, do(t.Context(), c.w, key))
		}
		for _, done := range refused {
			wantCode(t, <-done, 503)
		}
		c.answer = served
		time.Sleep(maxDelay)
		before := len(c.seen())
		c.begin(1)
		if after := len(c.seen()); after != before+1 {
			t.Errorf("%d batches, want %d", after, before+1)
		}
		c.reply()
	})
}

func TestDo_ResendsTheSame(t *testing.T) {
	d := &desk{answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) {
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
		d.tell(d.batches[0], 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// Results are as good as the acknowledgement that does not come.
func TestDo_ResultsEndTheAppend(t *testing.T) {
	d := &desk{answer: away}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		for seq := uint64(1); seq <= 3; seq++ {
			done := do(t.Context(), w, int64(seq))
			notYet(t, done)
			d.tell(d.batches[seq-1], seq)
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
	d := &desk{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 1, nil }}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		done := do(t.Context(), w, 1)
		b := d.batches[0]
		d.say("rubbish")
		d.say(shardlog.Results{Batch: "other", Table: b.Table, Shard: b.Shard, Seq: 1, Ops: 1})
		d.say(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Seq: 1, Ops: 2})
		d.say(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: "sh2", Seq: 1, Ops: 1})
		d.say(shardlog.Results{Batch: b.ID, Table: b.Table, Shard: b.Shard, Ops: 1})
		notYet(t, done)
		d.tell(b, 1)
		d.tell(b, 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

// A log that was never reached is told of quickly, and more quickly later.
func TestDo_LogAway(t *testing.T) {
	gone := errors.New("the bus is away")
	back := false
	d := &desk{answer: func(context.Context, int, shardlog.Batch) (uint64, error) {
		if !back {
			return 0, gone
		}
		return 1, nil
	}}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		f := func(least, most time.Duration) {
			t.Helper()
			begun := time.Now()
			err := <-do(t.Context(), w, 1)
			if wantCode(t, err, 503); !errors.Is(err, gone) {
				t.Errorf("%v does not say why", err)
			}
			if took := time.Since(begun); took < least || took > most {
				t.Errorf("told after %s", took)
			}
		}
		f(5*time.Second, 6*time.Second)
		f(0, 100*time.Millisecond)
		f(0, 100*time.Millisecond)
		back = true
		done := do(t.Context(), w, 1)
		d.tell(d.batches[len(d.batches)-1], 1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		back = false
		f(5*time.Second, 6*time.Second) // it is away anew
	})
}

// Behind a batch that is perhaps stored, ops wait that surely are not.
func TestDo_TellsSentFromUnsent(t *testing.T) {
	d := &desk{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 0, events.ErrUnknownOutcome }}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		begun := time.Now()
		sent := do(t.Context(), w, 1)
		unsent := do(t.Context(), w, 2)
		err := <-unsent
		wantCode(t, err, 503)
		if took := time.Since(begun); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the op that was not sent: told after %s", took)
		}
		begun2 := time.Now()
		wantCode(t, <-do(t.Context(), w, 3), 503)
		if took := time.Since(begun2); took > 0 {
			t.Errorf("the next: told after %s", took)
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
	d := &desk{answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 77, nil }}
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
		d.tell(d.batches[0], 77) // and is no harm
	})
}

func TestDo_CallersWhoLeave(t *testing.T) {
	d := &desk{}
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
		d.tell(d.batches[0], 1)
		d.tell(d.batches[1], 2)
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
	d := &desk{}
	bubble(t, d, nil, func(t *testing.T, w *oplog.Writer) {
		acks := d.acknowledged()
		begun := time.Now()
		one := func(key int64, most time.Duration) <-chan error {
			done := make(chan error, 1)
			go func() {
				r, err := w.DoFor(most, theLog, insert(key))
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
		d.tell(d.batches[0], 1) // nobody waits for it
		acks <- 2
		notYet(t, stays)
		d.tell(d.batches[1], 2)
		if err := <-stays; err != nil {
			t.Error(err)
		}
		if ops := d.batches[1].Ops; len(ops) != 1 || ops[0].Rows[0].Key() != 3 {
			t.Errorf("the second batch has %+v", ops)
		}
		again := one(4, time.Hour) // on what the one before left behind
		acks <- 3
		notYet(t, again)
		d.tell(d.batches[2], 3)
		if err := <-again; err != nil {
			t.Error(err)
		}
	})
}

func TestDo_BoundsWhatWaits(t *testing.T) {
	f := func(name string, change func(*oplog.Config), fit int) {
		t.Run(name, func(t *testing.T) {
			d := &desk{answer: away}
			bubble(t, d, change, func(t *testing.T, w *oplog.Writer) {
				first := do(t.Context(), w, 0) // on its way
				leaving, leave := context.WithCancel(t.Context())
				for key := range int64(fit) {
					notYet(t, do(leaving, w, key))
				}
				wantCode(t, <-do(t.Context(), w, 99), 503)
				leave()
				time.Sleep(time.Second) // virtual; places are freed
				notYet(t, do(t.Context(), w, 99))
				d.tell(d.batches[0], 1)
				if err := <-first; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
	f("bytes", func(cfg *oplog.Config) { cfg.QueueBytes = 200 }, 5)
	f("ops", func(cfg *oplog.Config) { cfg.QueueOps = 8 }, 7)
}

// At the end everybody is told, and nothing runs any more.
func TestRun_Ends(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	for name, d := range map[string]*desk{
		"unacknowledged": {answer: away},
		"unreached":      {answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 0, errors.New("away") }},
		"without result": {answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) { return uint64(n + 1), nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w, stop := run(t, oplog.DefaultConfig(), d, c, nobody{})
			var told sync.WaitGroup
			for key := range int64(20) {
				told.Go(func() {
					if _, err := w.Do(context.Background(), theLog, insert(key)); err == nil {
						t.Error("written")
					}
				})
				told.Go(func() {
					if _, err := w.DoFor(time.Hour, theLog, insert(key)); err == nil {
						t.Error("written")
					}
				})
			}
			testkit.Eventually(t, func() error {
				d.mu.Lock()
				defer d.mu.Unlock()
				if len(d.batches) == 0 {
					return errors.New("nothing is sent")
				}
				return nil
			})
			stop()
			told.Wait()
			_, err := w.Do(t.Context(), theLog, insert(1))
			wantCode(t, err, 503)
		})
	}
}
