package bus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

func asServers(cfg *bus.Config) {
	cfg.Replicas, cfg.Wait, cfg.Timeout = bus.AsServers, true, 5*time.Second
}

// wantCopies waits until all streams have so many copies and none is behind.
func wantCopies(t *testing.T, c *bus.Conn, n, streams int) {
	t.Helper()
	testkit.Within(t, time.Minute, func() error {
		if _, err := c.AddCopies(testkit.Context(t)); err != nil {
			return err
		}
		return copies(testkit.Context(t), c, n, streams)
	})
}

// haveCopies waits until none is behind.
func haveCopies(t *testing.T, c *bus.Conn, n, streams int) {
	t.Helper()
	testkit.Within(t, time.Minute, func() error { return copies(testkit.Context(t), c, n, streams) })
}

func copies(ctx context.Context, c *bus.Conn, n, streams int) error {
	all, err := c.Streams(ctx)
	if err != nil {
		return err
	}
	if len(all) != streams {
		return fmt.Errorf("%d streams, want %d: %+v", len(all), streams, all)
	}
	for _, s := range all {
		if s.Copies != n || s.Leader == "" || len(s.Behind) > 0 {
			return fmt.Errorf("%+v, want %d copies", s, n)
		}
	}
	return nil
}

// makeAll makes a stream of each kind.
func makeAll(t *testing.T, c *bus.Conn) {
	t.Helper()
	for _, name := range []string{events.BucketLease, events.BucketDesired} {
		bucket(t, c, name)
	}
	emit(t, c, event(events.VerbReady, "w1"))
	testkit.Eventually(t, func() error { _, err := c.CreateLog(testkit.Context(t), theLog, 0); return err })
}

func TestCopies_OneOnAServerThatIsAlone(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL(), asServers)
	makeAll(t, c)
	haveCopies(t, c, 1, 4)
	if added, err := c.AddCopies(testkit.Context(t)); added != nil || err != nil {
		t.Fatalf("added %+v, %v", added, err)
	}
}

// What is made on two servers has two copies, and three when the third has come.
func TestCopies_AsManyAsThereAreServers(t *testing.T) {
	if testing.Short() {
		t.Skip("servers join in some seconds")
	}
	t.Parallel()
	start := testkit.BusesOf(t, 3)
	cluster := []*testkit.Bus{start(0, 2), start(1, 2)}
	c := testkit.Connect(t, testkit.URLs(cluster), asServers)
	makeAll(t, c)
	haveCopies(t, c, 2, 4)
	start(2, 3)
	wantCopies(t, c, 3, 4)
	if added, err := c.AddCopies(testkit.Context(t)); added != nil || err != nil {
		t.Fatalf("added %+v to what has enough, %v", added, err)
	}
	one := testkit.Connect(t, testkit.URLs(cluster), func(cfg *bus.Config) { cfg.Replicas = 1 })
	if added, err := one.AddCopies(testkit.Context(t)); added != nil || err != nil {
		t.Fatalf("added %+v, %v", added, err)
	}
	bucket(t, one, events.BucketDesired)
	if _, err := one.CreateLog(testkit.Context(t), theLog, 0); err != nil {
		t.Fatal(err)
	}
	haveCopies(t, c, 3, 4) // who wants fewer takes none away
}

// Streams that are written to get more copies: nothing is lost, doubled or taken
// for new that was known, and any server may end afterwards.
func TestCopies_RaisedUnderWriters(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take some seconds")
	}
	t.Parallel()
	cluster := testkit.StartBuses(t)
	one := testkit.Connect(t, testkit.URLs(cluster), func(cfg *bus.Config) { cfg.Wait = true })
	makeAll(t, one)
	haveCopies(t, one, 1, 4)

	l, b := one.Log(theLog), bucket(t, one, events.BucketDesired)
	var enough atomic.Bool
	written := make(chan int)
	go func() {
		n := 0
		for ; !enough.Load(); n++ {
			id := fmt.Sprint("b", n)
			testkit.Eventually(t, func() error {
				seq, err := l.Append(testkit.Context(t), id, batchOf(id))
				if err == nil && seq != uint64(n+1) {
					t.Errorf("batch %s is at %d", id, seq)
				}
				return err
			})
		}
		written <- n
	}()
	counted := make(chan int)
	go func() { // by compare-and-set
		v := must(t)(b.Create(testkit.Context(t), "n", []byte("0")))
		n := 0
		for !enough.Load() {
			next, err := b.Update(testkit.Context(t), "n", fmt.Append(nil, n+1), v)
			if err == nil {
				n, v = n+1, next
				continue
			}
			testkit.Eventually(t, func() error { // it may be stored
				e, err := b.Get(testkit.Context(t), "n")
				if err != nil {
					return err
				}
				if is := string(e.Value); is != fmt.Sprint(n) && is != fmt.Sprint(n+1) {
					t.Errorf("%d updates made %s", n, is)
				}
				_, _ = fmt.Sscan(string(e.Value), &n)
				v = e.Version
				return nil
			})
		}
		counted <- n
	}()
	c := testkit.Connect(t, testkit.URLs(cluster), asServers)
	wantCopies(t, c, 3, 4)
	enough.Store(true)
	n, count := <-written, <-counted
	t.Logf("%d batches, %d updates", n, count)

	for i := range cluster {
		cluster[i].Shutdown()
		testkit.Eventually(t, func() error { _, err := l.State(testkit.Context(t)); return err })
		wantState(t, l, 1, uint64(n))
		for _, k := range []int{0, n / 2, n - 1} {
			id := fmt.Sprint("b", k)
			testkit.Eventually(t, func() error {
				seq, err := l.Append(testkit.Context(t), id, batchOf(id))
				if err == nil && seq != uint64(k+1) {
					t.Fatalf("batch %s, which is at %d, was sent again and is at %d", id, k+1, seq)
				}
				return err
			})
		}
		testkit.Eventually(t, func() error {
			e, err := b.Get(testkit.Context(t), "n")
			if err != nil {
				return err
			}
			return sameText(e.Value, fmt.Sprint(count))
		})
		cluster[i].Start()
		haveCopies(t, c, 3, 4)
	}
}
