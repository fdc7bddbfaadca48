package bus_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/server"
	"ringway/internal/testkit"
)

func TestConnect_FailsAtOnceWithoutABus(t *testing.T) {
	cfg := bus.DefaultConfig()
	cfg.URL = "nats://" + testkit.Address(t)
	_, err := bus.Connect(t.Context(), cfg, testkit.Log(t))
	if err == nil || !strings.Contains(err.Error(), cfg.URL) {
		t.Fatalf("got %v, want an error that names %s", err, cfg.URL)
	}
}

func TestConnect_FindsABusThatComesLater(t *testing.T) {
	cfg := bus.DefaultConfig()
	address := testkit.Address(t)
	cfg.URL, cfg.Wait = "nats://"+address, true
	c, err := bus.Connect(t.Context(), cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish("ringway.hb.agent.h1", 1); err == nil {
		t.Error("published without a bus")
	}
	var seen recorder[string]
	stop, err := c.Listen(events.HeartbeatAgents, func(subject string, _ []byte) { seen.add(subject) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	opened := make(chan error)
	go func() {
		_, err := c.Bucket(t.Context(), events.BucketRoutes)
		opened <- err
	}()
	srv := testkit.StartBus(t, func(cfg *server.Config) { cfg.Listen = address })
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	from := testkit.Connect(t, srv.URL())
	testkit.Eventually(t, func() error {
		if err := from.Publish(events.AgentSubject("h1"), 1); err != nil {
			return err
		}
		if len(seen.list()) == 0 {
			return errors.New("a subscription from before the bus hears nothing")
		}
		return nil
	})
}

func TestPublish_ReachesListenersInOrder(t *testing.T) {
	srv := testkit.StartBus(t)
	from, to := testkit.Connect(t, srv.URL()), testkit.Connect(t, srv.URL())
	var seen recorder[string]
	stop, err := to.Listen(events.HeartbeatAgents, func(subject string, data []byte) { seen.add(subject + " " + string(data)) })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := from.Publish(events.AgentSubject("h1"), i); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, func() error {
		if n := len(seen.list()); n < 100 {
			return fmt.Errorf("%d of 100", n)
		}
		return nil
	})
	for i, got := range seen.list() {
		if want := "ringway.hb.agent.h1 " + strconv.Itoa(i); got != want {
			t.Fatalf("message %d is %q, want %q", i, got, want)
		}
	}
	stop()
	stop() // harmless
}

func TestPublish_KeepsNothingForLater(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	srv.Shutdown()
	testkit.Eventually(t, func() error {
		if err := c.Publish("ringway.hb.agent.h1", "stale"); err != nil {
			return nil
		}
		return errors.New("the bus is away and publishing succeeds")
	})
	srv.Start()
	var seen recorder[string]
	other := testkit.Connect(t, srv.URL())
	stop, err := other.Listen("ringway.hb.agent.*", func(_ string, data []byte) { seen.add(string(data)) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	testkit.Eventually(t, func() error { return c.Publish("ringway.hb.agent.h1", "fresh") })
	testkit.Eventually(t, func() error {
		if got := seen.list(); len(got) != 1 || got[0] != `"fresh"` {
			return fmt.Errorf("got %q", got)
		}
		return nil
	})
}

func TestListen_OutlivesARestart(t *testing.T) {
	srv := testkit.StartBus(t)
	from, to := testkit.Connect(t, srv.URL()), testkit.Connect(t, srv.URL())
	var seen recorder[string]
	stop, err := to.Listen("ringway.hb.>", func(_ string, data []byte) { seen.add(string(data)) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	srv.Shutdown()
	srv.Start()
	testkit.Eventually(t, func() error {
		if err := from.Publish("ringway.hb.controller", 1); err != nil {
			return err
		}
		if len(seen.list()) == 0 {
			return errors.New("nothing heard")
		}
		return nil
	})
}

func TestListen_DropsTheOldestWhenSlow(t *testing.T) {
	srv := testkit.StartBus(t)
	var said recorder[string]
	cfg := bus.DefaultConfig()
	cfg.URL = srv.URL()
	to, err := bus.Connect(t.Context(), cfg, slog.New(slog.NewTextHandler(lines{&said}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	const sent = 6000
	var seen recorder[int]
	var first sync.Once // not always of message 0: that one may be dropped already
	busy, free := make(chan struct{}), make(chan struct{})
	stop, err := to.Listen("ringway.hb.>", func(_ string, data []byte) {
		n, _ := strconv.Atoi(string(data))
		first.Do(func() {
			close(busy)
			<-free
		})
		seen.add(n)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	from := testkit.Connect(t, srv.URL())
	for i := range sent {
		if err := from.Publish("ringway.hb.x", i); err != nil {
			t.Fatal(err)
		}
	}
	<-busy
	testkit.Eventually(t, func() error {
		if !strings.Contains(strings.Join(said.list(), ""), "dropping the oldest") {
			return errors.New("nothing is dropped")
		}
		return nil
	})
	close(free)
	testkit.Eventually(t, func() error {
		if got := seen.list(); len(got) == 0 || got[len(got)-1] != sent-1 {
			return errors.New("the newest message did not come")
		}
		return nil
	})
	got := seen.list()
	if len(got) >= sent {
		t.Errorf("all %d messages were kept for a listener that slept", len(got))
	}
	if !slices.IsSorted(got) {
		t.Error("out of order")
	}
}

// lines records what is written.
type lines struct{ *recorder[string] }

func (l lines) Write(b []byte) (int, error) { l.add(string(b)); return len(b), nil }

func TestClose_SendsWhatWasPublished(t *testing.T) {
	srv := testkit.StartBus(t)
	var seen recorder[string]
	stop, err := testkit.Connect(t, srv.URL()).Listen("ringway.hb.>", func(_ string, data []byte) { seen.add(string(data)) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	cfg := bus.DefaultConfig()
	cfg.URL = srv.URL()
	c, err := bus.Connect(t.Context(), cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish("ringway.hb.x", "bye"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c.Connected() {
		t.Error("connected after Close")
	}
	testkit.Eventually(t, func() error {
		if len(seen.list()) != 1 {
			return errors.New("the last word is lost")
		}
		return nil
	})
}
