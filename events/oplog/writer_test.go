package oplog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
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

func TestDo_RefusesWhatCannotBe(t *testing.T) {
	cfg := oplog.DefaultConfig()
	cfg.Patience = 10 * time.Millisecond
	w := oplog.New(cfg, &fakeBus{}, &fakeBus{}, &fakeBus{}, testkit.Log(t))
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
	_, err := w.DoFor(time.Hour, theLog, insert(1))
	wantCode(t, err, 503)
	if _, err := w.Do(t.Context(), events.LogID{Table: "x"}, insert(1)); err == nil {
		t.Error("wrote to no log")
	}
}

// A router that starts has clients before its writer listens for results.
func TestDo_WaitsForAWriterThatStarts(t *testing.T) {
	d := &fakeBus{}
	synctest.Test(t, func(t *testing.T) {
		d.answer = func(_ context.Context, n int, b shardlog.Batch) (uint64, error) {
			d.publishResults(b, uint64(n)+1)
			return uint64(n) + 1, nil
		}
		w := oplog.New(oplog.DefaultConfig(), d, d, d, testkit.Log(t))
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

// A writer does not check its settings: all have these.
func TestDefaultConfig_FitsTheLog(t *testing.T) {
	cfg := oplog.DefaultConfig()
	if cfg.Writer == "" || len(cfg.Writer) > events.MaxIDBytes {
		t.Errorf("writer %q", cfg.Writer)
	}
	if cfg.BatchBytes > shardlog.MaxOpBytes {
		t.Errorf("batches of %d bytes, with ops of at most %d", cfg.BatchBytes, shardlog.MaxOpBytes)
	}
	if cfg.DelayPerOp > math.MaxInt64/time.Duration(cfg.QueueOps) {
		t.Errorf("%s for each of %d ops is no Duration", cfg.DelayPerOp, cfg.QueueOps)
	}
	if cfg.Resend >= shardlog.LogDedup {
		t.Errorf("batches are sent again for %s, and the log knows them for %s", cfg.Resend, shardlog.LogDedup)
	}
}

// What is appended is a batch as the contract defines it.
func TestDo_WritesBatchesOfTheContract(t *testing.T) {
	key := int64(-3)
	ops := []*shardlog.Op{
		insert(1),
		{Kind: shardlog.OpUpdate, Rows: []rowjson.Row{{rowjson.Int(1), rowjson.Text("\"<é\u2028\\\x00")}}, Idempotency: &shardlog.Idempotency{Key: "k", Body: "b"}},
		{Kind: shardlog.OpDelete, Key: &key},
		{Kind: shardlog.OpBarrier},
	}
	d := &fakeBus{answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) { return uint64(n + 1), nil }}
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
			d.publishResults(got, uint64(i+1))
		}
	})
}

func TestDo_OneAppendAtATime(t *testing.T) {
	d := &fakeBus{}
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
			d.publishResults(b, seq)
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

func TestDo_BoundsWhatWaits(t *testing.T) {
	f := func(name string, change func(*oplog.Config), fit int) {
		t.Run(name, func(t *testing.T) {
			d := &fakeBus{answer: away}
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
				d.publishResults(d.batches[0], 1)
				if err := <-first; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
	f("bytes", func(cfg *oplog.Config) { cfg.QueueBytes = 200 }, 5)
	f("ops", func(cfg *oplog.Config) { cfg.QueueOps = 8 }, 7)
}

// At the end every caller has its answer, and nothing runs any more.
func TestRun_Ends(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	createLog(t, c, theLog)
	for name, d := range map[string]*fakeBus{
		"unacknowledged": {answer: away},
		"unreached":      {answer: func(context.Context, int, shardlog.Batch) (uint64, error) { return 0, errors.New("away") }},
		"without result": {answer: func(_ context.Context, n int, _ shardlog.Batch) (uint64, error) { return uint64(n + 1), nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w, stop := run(t, oplog.DefaultConfig(), d, c, nobody{})
			var answered sync.WaitGroup
			for key := range int64(20) {
				answered.Go(func() {
					if _, err := w.Do(context.Background(), theLog, insert(key)); err == nil {
						t.Error("written")
					}
				})
				answered.Go(func() {
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
			answered.Wait()
			_, err := w.Do(t.Context(), theLog, insert(1))
			wantCode(t, err, 503)
		})
	}
}
