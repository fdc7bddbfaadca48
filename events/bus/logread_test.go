package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/logs"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
)

// readLog reads n messages after a position, as "<seq> <batch id>".
func readLog(t *testing.T, l *logs.Log, after events.Position, n int) []string {
	t.Helper()
	var got []string
	enough := errors.New("enough")
	err := l.Read(testkit.Context(t), after, nil, func(seq uint64, at time.Time, data []byte, _ bool) error {
		got = append(got, spellMsg(t, seq, data))
		if at.IsZero() {
			t.Errorf("%d has no time", seq)
		}
		if len(got) == n {
			return enough
		}
		return nil
	})
	if err != enough { //nolint:errorlint // the caller's error comes back as it is
		t.Fatalf("read %v, %v", got, err)
	}
	return got
}

func spellMsg(t *testing.T, seq uint64, data []byte) string {
	b, err := shardlog.DecodeBatch(data)
	if err != nil {
		return fmt.Sprint(seq, " rubbish")
	}
	return fmt.Sprint(seq, " ", b.ID)
}

func position(seq uint64, batch string) events.Position {
	return events.Position{Incarnation: theLog.Incarnation, Seq: seq, Batch: batch}
}

func TestLogRead_Positions(t *testing.T) {
	t.Parallel()
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	appendAll(t, l, "b1", "b2", "b3", "b4")
	for seq := range uint64(4) {
		got := readLog(t, l, position(seq, fmt.Sprint("b", seq)), int(4-seq))
		if want := []string{"1 b1", "2 b2", "3 b3", "4 b4"}[seq:]; !slices.Equal(got, want) {
			t.Fatalf("after %d: got %v, want %v", seq, got, want)
		}
	}
	refuse := func(after events.Position, want error) {
		t.Helper()
		err := l.Read(testkit.Context(t), after, nil, func(uint64, time.Time, []byte, bool) error { return errors.New("called") })
		wantErr(t, err, want)
	}
	refuse(position(4, "b3"), events.ErrLogForeign)
	refuse(position(5, "b5"), events.ErrLogForeign)
	refuse(events.Position{Incarnation: "second", Seq: 2, Batch: "b2"}, events.ErrLogForeign)
	if err := l.Purge(testkit.Context(t), 3); err != nil {
		t.Fatal(err)
	}
	refuse(position(1, "b1"), events.ErrLogPurged)
	refuse(position(0, ""), events.ErrLogPurged)
	if got := readLog(t, l, position(2, "b2"), 2); !slices.Equal(got, []string{"3 b3", "4 b4"}) {
		t.Fatalf("after what is purged: %v", got)
	}
}

func TestLogRead_GivesRubbishToo(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	appendAll(t, l, "b1")
	if _, err := rawJS(t, srv.URL()).Publish(testkit.Context(t), "ringway.log.StudT.sh1", []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "b3")
	if got := readLog(t, l, position(0, ""), 3); !slices.Equal(got, []string{"1 b1", "2 rubbish", "3 b3"}) {
		t.Fatalf("got %v", got)
	}
}

func TestLogRead_CatchesUpWithLargeBatches(t *testing.T) {
	l := createLog(t, testkit.Connect(t, testkit.StartBus(t).URL()), theLog)
	const n = 30
	for i := range n {
		if _, err := l.Append(testkit.Context(t), fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, shardlog.MaxBatchBytes-i%3*450_000)); err != nil {
			t.Fatal(err)
		}
	}
	enough := errors.New("enough")
	err := l.Read(testkit.Context(t), events.Position{}, nil, func(seq uint64, _ time.Time, data []byte, _ bool) error {
		if data[0] != byte(seq-1) || data[len(data)-1] != byte(seq-1) {
			t.Errorf("%d is not what was stored", seq)
		}
		if seq == n {
			return enough
		}
		return nil
	})
	wantErr(t, err, enough)
}

// reading runs Read until the test ends; what it returns is in the channel.
func reading(t *testing.T, l *logs.Log, after events.Position) (*recorder[string], <-chan error) {
	t.Helper()
	var seen recorder[string]
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- l.Read(ctx, after, nil, func(seq uint64, _ time.Time, data []byte, _ bool) error {
			seen.add(spellMsg(t, seq, data))
			return nil
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	return &seen, ended
}

func sees(t *testing.T, seen *recorder[string], want ...string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if got := seen.list(); !slices.Equal(got, want) {
			return fmt.Errorf("read %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
		}
		return nil
	})
}

func faultOf(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(testkit.Patience):
		t.Fatal("the reader noticed nothing")
		return nil
	}
}

func TestLogRead_OutlivesRestarts(t *testing.T) {
	srv := testkit.StartBus(t)
	l := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	seen, _ := reading(t, l, events.Position{})
	want := []string{}
	for i := range 4 {
		id := fmt.Sprint("b", i)
		testkit.Eventually(t, func() error { _, err := l.Append(testkit.Context(t), id, batchOf(id)); return err })
		want = append(want, fmt.Sprint(i+1, " ", id))
		sees(t, seen, want...)
		srv.Shutdown()
		srv.Start()
	}
}

func TestLogRead_OutlivesACutCable(t *testing.T) {
	srv := testkit.StartBus(t)
	direct := createLog(t, testkit.Connect(t, srv.URL()), theLog)
	cable := newCut(t, srv.URL())
	seen, _ := reading(t, testkit.Connect(t, cable.URL()).Log(theLog), events.Position{})
	appendAll(t, direct, "b1")
	sees(t, seen, "1 b1")
	cable.Cut()
	appendAll(t, direct, "b2", "b3")
	cable.Heal()
	sees(t, seen, "1 b1", "2 b2", "3 b3")
}

func TestLogRead_NoticesAnotherHistory(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*testkit.Bus, *bus.Conn, <-chan error) {
		t.Parallel()
		srv := testkit.StartBus(t)
		c := testkit.Connect(t, srv.URL())
		l := createLog(t, c, theLog)
		seen, ended := reading(t, l, events.Position{})
		appendAll(t, l, "b1", "b2")
		sees(t, seen, "1 b1", "2 b2")
		return srv, c, ended
	}
	t.Run("made anew", func(t *testing.T) {
		_, c, ended := setup(t)
		if err := c.DeleteLog(testkit.Context(t), theLog); err != nil {
			t.Fatal(err)
		}
		createLog(t, c, other(theLog))
		wantErr(t, faultOf(t, ended), events.ErrLogForeign)
	})
	t.Run("gone", func(t *testing.T) {
		_, c, ended := setup(t)
		if err := c.DeleteLog(testkit.Context(t), theLog); err != nil {
			t.Fatal(err)
		}
		wantErr(t, faultOf(t, ended), events.ErrLogMissing)
	})
	// The incarnation is in the stream's own metadata: a copy of the files
	// brings it along.
	restored := func(t *testing.T, ids ...string) {
		srv, _, ended := setup(t)
		srv.Shutdown()
		srv.Wipe()
		srv.Start()
		appendAll(t, createLog(t, testkit.Connect(t, srv.URL()), theLog), ids...)
		wantErr(t, faultOf(t, ended), events.ErrLogForeign)
	}
	t.Run("shorter", func(t *testing.T) { restored(t, "b1") })
	t.Run("as long with another batch", func(t *testing.T) { restored(t, "b1", "x2") })
	t.Run("longer with another batch", func(t *testing.T) { restored(t, "b1", "x2", "x3") })
}
