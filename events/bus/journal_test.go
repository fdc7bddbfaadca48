package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func event(verb, about string) events.Event {
	return events.NewEvent("controller/c1", events.EntityInstance, verb, about, noon, map[string]string{"host": "h1"})
}

func emit(t *testing.T, c *bus.Conn, all ...events.Event) {
	t.Helper()
	for _, e := range all {
		if err := c.Emit(testkit.Context(t), e); err != nil {
			t.Fatal(err)
		}
	}
}

// told are the ids of all events.
func told(t *testing.T, c *bus.Conn, since time.Time) []string {
	t.Helper()
	var ids []string
	err := c.History(testkit.Context(t), since, false, func(e events.Event) error {
		ids = append(ids, e.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func wantIDs(t *testing.T, got []string, want ...events.Event) {
	t.Helper()
	var ids []string
	for _, e := range want {
		ids = append(ids, e.ID)
	}
	if !slices.Equal(got, ids) {
		t.Fatalf("got events %v, want %v", got, ids)
	}
}

func TestEmit_OnceForEachID(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	wantIDs(t, told(t, c, time.Time{}))
	a, b := event(events.VerbReady, "w1"), event(events.VerbDied, "w1")
	emit(t, c, a, b, a, b, b)
	wantIDs(t, told(t, c, time.Time{}), a, b)
}

func TestEmit_ArrivesAsItWas(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	want := event(events.VerbReady, "w.1")
	bare := events.Event{ID: "bare", Entity: "host", Verb: "joined", About: "h1", Source: "agent/h1", Time: noon}
	emit(t, c, want, bare)
	var got []events.Event
	if err := c.History(testkit.Context(t), time.Time{}, false, func(e events.Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if got[1].ID != "bare" || len(got[1].Data) != 0 {
		t.Fatalf("an event without data came as %+v", got[1])
	}
}

func TestEmit_WaitsForTheBus(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	first, second := event(events.VerbReady, "w1"), event(events.VerbDied, "w1")
	emit(t, c, first)
	srv.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := c.Emit(ctx, second); err == nil {
		t.Fatal("emitted without a bus")
	}
	done := make(chan error)
	go func() { done <- c.Emit(t.Context(), second) }()
	srv.Start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantIDs(t, told(t, c, time.Time{}), first, second)
}

func TestEmit_MakesTheStreamOfAWipedBus(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	emit(t, c, event(events.VerbReady, "w1"))
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	second := event(events.VerbDied, "w1")
	emit(t, c, second)
	wantIDs(t, told(t, c, time.Time{}), second)
}

func TestEmit_GivesUpOnWhatCannotBe(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	huge := events.NewEvent("x", "host", "joined", "h1", noon, strings.Repeat("x", 2<<20))
	if err := c.Emit(testkit.Context(t), huge); !errors.Is(err, nats.ErrMaxPayload) {
		t.Fatalf("got %v", err)
	}
}

func TestEmitted_TellsANewLeader(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	check := func(e events.Event, want bool) {
		t.Helper()
		if got, err := c.Emitted(testkit.Context(t), e); err != nil || got != want {
			t.Fatalf("emitted: got %v, %v, want %v", got, err, want)
		}
	}
	a, b := event(events.VerbReady, "w1"), event(events.VerbReady, "w1")
	check(a, false)
	emit(t, c, a)
	check(a, true)
	check(b, false)
	emit(t, c, b, event(events.VerbDied, "w1"), event(events.VerbReady, "w2"))
	check(b, true)
	check(a, false)
}

func TestHistory_Since(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	early, late := event(events.VerbReady, "w1"), event(events.VerbDied, "w1")
	emit(t, c, early)
	between := time.Now()
	emit(t, c, late)
	wantIDs(t, told(t, c, between), late)
	wantIDs(t, told(t, c, time.Now().Add(time.Hour)))
}

func TestHistory_SkipsWhatIsNoEvent(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	a, b := event(events.VerbReady, "w1"), event(events.VerbDied, "w1")
	emit(t, c, a)
	js := rawJS(t, srv.URL())
	for _, m := range []*nats.Msg{
		{Subject: "ringway.evt.rubbish", Data: []byte("\xff\x00")},
		{Subject: "ringway.evt.host.joined.x", Header: nats.Header{"ce-specversion": {"1.0"}, "ce-time": {"yesterday"}}},
	} {
		if _, err := js.PublishMsg(testkit.Context(t), m); err != nil {
			t.Fatal(err)
		}
	}
	emit(t, c, b)
	wantIDs(t, told(t, c, time.Time{}), a, b)
}

func TestHistory_ReturnsTheCallbacksError(t *testing.T) {
	c := testkit.Connect(t, testkit.StartBus(t).URL())
	emit(t, c, event(events.VerbReady, "w1"), event(events.VerbReady, "w2"))
	enough := errors.New("enough")
	n := 0
	err := c.History(testkit.Context(t), time.Time{}, true, func(events.Event) error { n++; return enough })
	if wantErr(t, err, enough); n != 1 {
		t.Fatalf("called %d times", n)
	}
}

func TestHistory_FollowsOverRestartAndWipe(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	ctx, cancel := context.WithCancel(t.Context())
	var seen recorder[string]
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.History(ctx, time.Time{}, true, func(e events.Event) error { seen.add(e.ID); return nil }); err != nil {
			t.Errorf("history: %v", err)
		}
	})
	defer running.Wait()
	defer cancel()
	var want []string
	next := func(verb string) {
		t.Helper()
		e := event(verb, "w1")
		emit(t, c, e)
		want = append(want, e.ID)
		testkit.Eventually(t, func() error {
			if got := seen.list(); !slices.Equal(got, want) {
				return fmt.Errorf("got %v, want %v", got, want)
			}
			return nil
		})
	}
	next(events.VerbAssigned)
	next(events.VerbReady)
	srv.Shutdown()
	srv.Start()
	next(events.VerbUnready)
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	next(events.VerbDied)
	next(events.VerbReplaced)
}
