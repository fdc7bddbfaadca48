package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus/logs"
	"ringway/events/bus/server"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// fetchMode has a log read in batches, or not, as a test wants. Its zero value wants
// none.
type fetchMode struct {
	wanted, held atomic.Bool
	count        atomic.Int64 // of batches that were waited for
	waits        chan chan struct{}
}

func wantBatches() *fetchMode {
	l := &fetchMode{waits: make(chan chan struct{})}
	l.wanted.Store(true)
	return l
}

// heldBatches is waited for until the test says else.
func heldBatches() *fetchMode {
	l := wantBatches()
	l.held.Store(true)
	return l
}

func (l *fetchMode) Fetch() bool { return l.wanted.Load() }

func (l *fetchMode) Wait(ctx context.Context) {
	l.count.Add(1)
	if !l.held.Load() {
		return
	}
	release := make(chan struct{})
	select {
	case <-ctx.Done():
	case l.waits <- release:
		select {
		case <-ctx.Done():
		case <-release:
		}
	}
}

// gathering returns when the reader waits before a fetch batch. After release no wait
// takes time: a slow bus makes two batches of one.
func (l *fetchMode) gathering(t *testing.T) (release func()) {
	t.Helper()
	select {
	case c := <-l.waits:
		return func() { l.held.Store(false); close(c) }
	case <-time.After(testkit.Patience):
		t.Fatal("the reader gathers nothing")
		return nil
	}
}

// entry is a message as fn had it.
type entry struct {
	seq  uint64
	more bool
	size int
}

// collect runs Read until fn returns an error or the test ends.
func collect(t *testing.T, l *logs.Log, after events.Position, batches shardlog.BatchReader, fn func(seen []entry) error) (*recorder[entry], <-chan error) {
	t.Helper()
	var seen recorder[entry]
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		ended <- l.Read(ctx, after, batches, func(seq uint64, _ time.Time, data []byte, more bool) error {
			seen.add(entry{seq, more, len(data)})
			if fn == nil {
				return nil
			}
			return fn(seen.list())
		})
	})
	t.Cleanup(func() { stop(); done.Wait() })
	return &seen, ended
}

// wantWhole wants 1 to last, in order, and no fetch batch cut short. It returns how
// many batches of more than one there were.
func wantWhole(t *testing.T, seen *recorder[entry], last int) (batches int) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if n := len(seen.list()); n < last {
			return fmt.Errorf("read %d of %d", n, last)
		}
		return nil
	})
	all := seen.list()
	for i, e := range all {
		if e.seq != uint64(i+1) {
			t.Fatalf("%d is read where %d should be", e.seq, i+1)
		}
		if e.more && (i == 0 || !all[i-1].more) {
			batches++
		}
	}
	if len(all) != last || all[last-1].more {
		t.Fatalf("read %d of %d; more to come: %v", len(all), last, all[last-1].more)
	}
	return batches
}

func named(from, to int) (ids []string) {
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprint("b", i))
	}
	return ids
}

func rawLog(t *testing.T, srv *testkit.Bus) jetstream.Stream {
	t.Helper()
	stream, err := rawJS(t, srv.URL()).Stream(testkit.Context(t), "RINGWAY_LOG_StudT-sh1")
	testkit.Must(t, err)
	return stream
}

// consumer is what the bus knows of the one reader of a log.
func consumer(ctx context.Context, log jetstream.Stream) (*jetstream.ConsumerInfo, error) {
	var all []*jetstream.ConsumerInfo
	list := log.ListConsumers(ctx)
	for info := range list.Info() {
		all = append(all, info)
	}
	if err := list.Err(); err != nil || len(all) != 1 {
		return nil, errors.Join(fmt.Errorf("%d consumers", len(all)), err)
	}
	return all[0], nil
}

func TestLogFetch_ComeWholeAndInOrder(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	batches := heldBatches()
	seen, _ := collect(t, l, events.Position{}, batches, nil)
	const each = 20
	for round := range 3 {
		batches.held.Store(true)
		appendAll(t, l, named(round*each+1, round*each+1)...)
		release := batches.gathering(t)
		appendAll(t, l, named(round*each+2, (round+1)*each)...)
		if n := len(seen.list()); n != round*each {
			t.Fatalf("%d were read before the fetch batch was wanted, want %d", n, round*each)
		}
		release()
		if got := wantWhole(t, seen, (round+1)*each); got <= round {
			t.Errorf("%d batches in %d rounds", got, round+1)
		}
	}
}

// The bus restarts between two messages of a fetch batch that is here already.
func TestLogFetch_ABatchOutlivesARestart(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	appendAll(t, l, named(1, 20)...)
	var down sync.Once
	seen, _ := collect(t, l, events.Position{}, wantBatches(), func(all []entry) error {
		if all[len(all)-1].more {
			down.Do(srv.Restart)
		}
		return nil
	})
	wantWhole(t, seen, 20)
	for i := 21; i <= 24; i++ {
		testkit.Eventually(t, func() error { _, err := l.Append(testkit.Context(t), fmt.Sprint("b", i), batchOf("b")); return err })
	}
	wantWhole(t, seen, 24)
}

func TestLogFetch_OutliveRestarts(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	seen, _ := collect(t, l, events.Position{}, wantBatches(), nil)
	for i := range 4 {
		for _, id := range named(5*i+1, 5*i+5) {
			testkit.Eventually(t, func() error { _, err := l.Append(testkit.Context(t), id, batchOf(id)); return err })
		}
		wantWhole(t, seen, 5*i+5)
		srv.Restart()
	}
}

// The bus forgets a consumer whose reader is held up by its store.
func TestLogFetch_OutliveTheirConsumer(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	held, release := make(chan struct{}), make(chan struct{})
	seen, _ := collect(t, l, events.Position{}, wantBatches(), func(all []entry) error {
		if len(all) == 1 {
			close(held)
			<-release
		}
		return nil
	})
	appendAll(t, l, "b1")
	<-held
	raw := rawLog(t, srv)
	forgotten, err := consumer(testkit.Context(t), raw)
	testkit.Must(t, err)
	testkit.Must(t, raw.DeleteConsumer(testkit.Context(t), forgotten.Name))
	appendAll(t, l, named(2, 10)...)
	close(release)
	wantWhole(t, seen, 10)
}

// What the bus says against one request says nothing about the log.
func TestLogFetch_OutliveARefusal(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	batches := heldBatches()
	seen, _ := collect(t, l, events.Position{}, batches, nil)
	appendAll(t, l, "b1")
	release := batches.gathering(t)
	raw := rawLog(t, srv)
	refuses, err := consumer(testkit.Context(t), raw)
	testkit.Must(t, err)
	refuses.Config.MaxRequestBatch = 1
	_, err = raw.UpdateConsumer(testkit.Context(t), refuses.Config)
	testkit.Must(t, err)
	release()
	wantWhole(t, seen, 1)
}

func TestLogFetch_OutliveACutCable(t *testing.T) {
	srv := testkit.StartBus(t)
	direct := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	cable := newCut(t, srv.URL())
	batches := heldBatches()
	seen, _ := collect(t, testkit.Connect(t, cable.URL()).Log(theLog), events.Position{}, batches, nil)
	appendAll(t, direct, "b1")
	_ = batches.gathering(t) // what is lost with the connection is not waited for
	cable.Cut()
	appendAll(t, direct, "b2", "b3")
	cable.Heal()
	batches.gathering(t)()
	wantWhole(t, seen, 3)
}

// It goes on where it was, whichever way it reads.
func TestLogFetch_WantedOrNot(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	batches := wantBatches()
	seen, _ := collect(t, l, events.Position{}, batches, nil)
	const n = 40
	for i := range n {
		batches.wanted.Store(i/4%2 == 0)
		appendAll(t, l, fmt.Sprint("b", i+1))
		wantWhole(t, seen, i+1)
	}
	if waits := batches.count.Load(); waits < n/4 || waits > 3*n/4 {
		t.Errorf("%d of %d messages came as batches, want about half", waits, n)
	}
	hasty := wantBatches() // switches in the middle of batches
	seen, _ = collect(t, l, events.Position{}, hasty, func(all []entry) error {
		hasty.wanted.Store(len(all)%2 == 0)
		return nil
	})
	appendAll(t, l, named(n+1, 2*n)...)
	wantWhole(t, seen, 2*n)
}

// A reader that is far behind gathers nothing: it has enough.
func TestLogFetch_CatchUpWithoutWaiting(t *testing.T) {
	srv := testkit.StartBus(t, func(cfg *server.Config) { cfg.SyncAlways = false })
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	js := rawJS(t, srv.URL())
	const n = 8000
	for i := range n {
		_, err := js.PublishAsync("ringway.log.StudT.sh1", batchOf("b"))
		testkit.Must(t, err)
		if i%1000 == 999 { // more at once are refused when the bus is slow
			<-js.PublishAsyncComplete()
		}
	}
	batches := wantBatches()
	seen, _ := collect(t, l, events.Position{}, batches, nil)
	wantWhole(t, seen, n)
	// Once at first, and then only when less is left than the last fetch batch had.
	if waits := batches.count.Load(); waits > 10 { // of 16 batches at least
		t.Errorf("it waited %d times", waits)
	}
}

// Nor does it when the bus sends nothing for a while.
func TestLogFetch_CatchUpWithASlowBus(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	const n, size = 30, 200_000 // three batches at least
	for i := range n {
		_, err := l.Append(testkit.Context(t), fmt.Sprint(i), bytes.Repeat([]byte("x"), size))
		testkit.Must(t, err)
	}
	raw, batches, paused := rawLog(t, srv), wantBatches(), 0
	seen, _ := collect(t, l, events.Position{}, batches, func(all []entry) error {
		switch {
		case paused == 0 && !all[len(all)-1].more:
			paused = len(all)
			c, err := consumer(testkit.Context(t), raw)
			if err == nil {
				_, err = raw.PauseConsumer(testkit.Context(t), c.Name, time.Now().Add(200*time.Millisecond))
			}
			return err
		case len(all) == paused+1:
			if waits := batches.count.Load(); waits != 1 {
				t.Errorf("it waited %d times before message %d of %d", waits, len(all), n)
			}
		}
		return nil
	})
	wantWhole(t, seen, n)
}

func TestLogFetch_HoldsNoMoreThanABatch(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	const n, size = 60, 200_000
	for i := range n {
		if _, err := l.Append(testkit.Context(t), fmt.Sprint(i), bytes.Repeat([]byte("x"), size)); err != nil {
			t.Fatal(err)
		}
	}
	const most = (2<<20)/size + 1 // and the one that was waited for
	held, raw, ctx := 0, rawLog(t, srv), testkit.Context(t)
	seen, ended := collect(t, l, events.Position{}, wantBatches(), func(all []entry) error {
		if len(all) == n {
			return errors.New("enough")
		}
		c, err := consumer(ctx, raw)
		if err == nil {
			held = max(held, int(c.Delivered.Stream)-len(all)+1)
		}
		return err
	})
	if err := faultOf(t, ended); err.Error() != "enough" {
		t.Fatal(err)
	}
	if batches := wantWhole(t, seen, n); batches < n/most {
		t.Errorf("%d batches", batches)
	}
	if held > most || held < 2 {
		t.Errorf("%d messages were held, want 2 to %d", held, most)
	}
}

func TestLogFetch_EndWithTheContext(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- l.Read(ctx, events.Position{}, wantBatches(), nil) }()
	raw := rawLog(t, srv)
	testkit.Eventually(t, func() error {
		c, err := consumer(ctx, raw)
		if err == nil && c.NumWaiting == 0 {
			err = errors.New("it does not wait for a message")
		}
		return err
	})
	stop()
	testkit.Within(t, 2*time.Second, func() error {
		select {
		case err := <-ended:
			testkit.Must(t, err)
			return nil
		default:
			return errors.New("it still reads")
		}
	})
}

// Jetstream refuses to wait with heartbeats for less than two of them.
func TestLogFetch_UntilADeadline(t *testing.T) {
	t.Parallel()
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	appendAll(t, l, "b1")
	testkit.Eventually(t, func() error { // a busy bus may need longer than that
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		read := 0
		testkit.Must(t, l.Read(ctx, events.Position{}, wantBatches(), func(uint64, time.Time, []byte, bool) error { read++; return nil }))
		wantErr(t, ctx.Err(), context.DeadlineExceeded)
		if read != 1 {
			return fmt.Errorf("%d messages were read, want 1", read)
		}
		return nil
	})
}

func TestLogFetch_NoticeAPurge(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	batches := heldBatches()
	seen, ended := collect(t, l, events.Position{}, batches, nil)
	appendAll(t, l, "b1")
	release := batches.gathering(t)
	appendAll(t, l, "b2", "b3", "b4")
	testkit.Must(t, l.Purge(testkit.Context(t), 3))
	release()
	wantErr(t, faultOf(t, ended), events.ErrLogPurged)
	wantWhole(t, seen, 1)
	_, ended = collect(t, l, position(1, "b1"), wantBatches(), nil)
	wantErr(t, faultOf(t, ended), events.ErrLogPurged)
}

func TestLogFetch_NoticeAnotherHistory(t *testing.T) {
	t.Parallel()
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	l := createLog(t, c, theLog)
	appendAll(t, l, "b1", "b2")
	_, ended := collect(t, l, position(2, "x2"), wantBatches(), nil)
	wantErr(t, faultOf(t, ended), events.ErrLogForeign)

	seen, ended := collect(t, l, events.Position{}, wantBatches(), nil)
	wantWhole(t, seen, 2)
	testkit.Must(t, c.DeleteLog(testkit.Context(t), theLog))
	createLog(t, c, other(theLog))
	wantErr(t, faultOf(t, ended), events.ErrLogForeign)

	l = c.Log(other(theLog))
	appendAll(t, l, "b1")
	seen, ended = collect(t, l, events.Position{}, wantBatches(), nil)
	wantWhole(t, seen, 1)
	testkit.Must(t, c.DeleteLog(testkit.Context(t), other(theLog)))
	wantErr(t, faultOf(t, ended), events.ErrLogMissing)
}

func TestLogFetch_GiveTheCallersErrorBack(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	appendAll(t, l, named(1, 10)...)
	enough := errors.New("enough")
	seen, ended := collect(t, l, events.Position{}, wantBatches(), func(all []entry) error {
		if len(all) == 5 {
			return enough
		}
		return nil
	})
	if err := faultOf(t, ended); err != enough { //nolint:errorlint // it comes back as it is
		t.Fatalf("it ended with %v", err)
	}
	if n := len(seen.list()); n != 5 {
		t.Errorf("%d were read", n)
	}
}
