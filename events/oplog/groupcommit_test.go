package oplog_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ringway/events/oplog"
	"ringway/events/shardlog"
)

// group is a group of clients of a writer in a bubble. The test decides when their
// batches are answered.
type group struct {
	*fakeBus
	t    *testing.T
	w    *oplog.Writer
	acks chan<- uint64
	key  int64
	open []<-chan error
}

const (
	delayPerOp = 100 * time.Microsecond
	maxDelay   = 10 * delayPerOp
	linger     = 50 * delayPerOp
)

func grouped(t *testing.T, change func(*oplog.Config), test func(t *testing.T, c *group)) {
	t.Helper()
	d := &fakeBus{}
	configure := func(cfg *oplog.Config) {
		cfg.DelayPerOp, cfg.MaxDelay, cfg.Linger = delayPerOp, maxDelay, linger
		if change != nil {
			change(cfg)
		}
	}
	bubble(t, d, configure, func(t *testing.T, w *oplog.Writer) {
		c := &group{fakeBus: d, t: t, w: w, acks: d.acknowledged()}
		test(t, c)
		for _, done := range c.open {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// begin starts n clients that write one op each.
func (c *group) begin(n int) {
	for range n {
		c.key++
		c.open = append(c.open, do(c.t.Context(), c.w, c.key))
	}
}

// reply acknowledges the last batch and publishes its results.
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

// results publishes those of batch n, from 1.
func (c *group) results(n int) {
	c.publishResults(c.seen()[n-1], uint64(n))
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

// after checks that the next batch is sent after hold and no earlier, and its number
// of ops.
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

func TestDo_OneClientAloneIsNeverDelayed(t *testing.T) {
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
		time.Sleep(delayPerOp - 1)
		c.sent(1)
		c.begin(1) // the first one again
		c.sent(1, 2)
		for range 3 {
			c.reply()
			c.begin(1)
			time.Sleep(delayPerOp / 2)
			c.begin(1)
		}
		c.sent(1, 2, 2, 2, 2)
		c.reply()
	})
}

func TestDo_AFullGroupIsSentAtOnce(t *testing.T) {
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

func TestDo_AGroupThatIsGoneDelaysOneBatch(t *testing.T) {
	for name, late := range map[string]time.Duration{"at once": 0, "soon": delayPerOp, "just in time": 3*delayPerOp - 1} {
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
				c.after(3*delayPerOp-late, 1) // since the answer
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
			time.Sleep(3 * delayPerOp)
			c.begin(1)
			c.sent(1, 4, 1)
			c.reply()
		})
	})
}

// Each client that goes shortens the delay of those who stay.
func TestDo_AGroupShrinks(t *testing.T) {
	grouped(t, nil, func(_ *testing.T, c *group) {
		c.begin(6)
		c.reply()
		c.begin(1)
		for n := 5; n > 0; n-- {
			c.reply()
			c.begin(n)
			c.after(time.Duration(n)*delayPerOp, n)
		}
		c.reply()
		c.begin(1)
		c.sent(1, 6, 5, 4, 3, 2, 1, 1)
		c.reply()
	})
}

func TestDo_NoGroupIsAwaitedBeyondMaxDelay(t *testing.T) {
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

func TestDo_SlowBatchesExtendMaxDelay(t *testing.T) {
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
		c.sent(1, 10, 10) // of a group of twenty ten are there
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

// Callers who have left delay no batch, and the others are not forgotten.
func TestDo_CallersWhoLeaveAGroup(t *testing.T) {
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

// A group that was refused does not delay ops that come much later.
func TestDo_AfterTheLogWasAwayNoBatchIsDelayed(t *testing.T) {
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
