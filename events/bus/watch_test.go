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
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/internal/testkit"
)

// watchAll watches until the test ends and records what it is given.
func watchAll(t *testing.T, b *kv.Bucket, filter string) *recorder[events.Entry] {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var seen recorder[events.Entry]
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Watch(ctx, filter, seen.add); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return &seen
}

// shows waits until the entries of a recorder are these keys with values; "-"
// is a deletion.
func shows(t *testing.T, seen *recorder[events.Entry], want ...string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if got := spell(seen.list()); !slices.Equal(got, want) {
			return fmt.Errorf("got %v, want %v", got, want)
		}
		return nil
	})
}

// ends waits until the newest entries are these. A watch may deliver current
// values more often than it has to.
func ends(t *testing.T, seen *recorder[events.Entry], want ...string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		got := spell(seen.list())
		if n := len(got) - len(want); n < 0 || !slices.Equal(got[n:], want) {
			return fmt.Errorf("got %v, want %v at the end", got, want)
		}
		return nil
	})
}

func spell(entries []events.Entry) []string {
	var got []string
	for _, e := range entries {
		v := string(e.Value)
		if e.Deleted() {
			v = "-"
		}
		got = append(got, e.Key+"="+v)
	}
	return got
}

func must(t *testing.T) func(events.Version, error) events.Version {
	return func(v events.Version, err error) events.Version {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestWatch_TellsCurrentValuesThenChanges(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketRoutes)
	ok := must(t)
	a := ok(b.Create(ctx, "a", []byte("1")))
	a = ok(b.Update(ctx, "a", []byte("2"), a))
	gone := ok(b.Create(ctx, "gone", []byte("x")))
	if err := b.Delete(ctx, "gone", gone); err != nil {
		t.Fatal(err)
	}
	seen := watchAll(t, b, "")
	shows(t, seen, "a=2")
	ok(b.Create(ctx, "b", []byte("1")))
	if err := b.Delete(ctx, "a", a); err != nil {
		t.Fatal(err)
	}
	shows(t, seen, "a=2", "b=1", "a=-")
	for i, e := range seen.list() {
		if e.Version.Incarnation != b.Incarnation() {
			t.Errorf("entry %d has version %v", i, e.Version)
		}
	}
}

func TestWatch_Filter(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketRoutes)
	ok := must(t)
	one, some := watchAll(t, b, "service.web"), watchAll(t, b, "service.*")
	ok(b.Create(ctx, "service.api", []byte("x")))
	ok(b.Create(ctx, "service.web", []byte("x")))
	ok(b.Create(ctx, "other", []byte("x")))
	ok(b.Create(ctx, "service.end", []byte("x")))
	shows(t, some, "service.api=x", "service.web=x", "service.end=x")
	shows(t, one, "service.web=x")
	if err := b.Watch(ctx, "a b", nil); err == nil {
		t.Error("a filter with a space is accepted")
	}
}

// NATS's own watch can fall silent here, without an error and for ever.
func TestWatch_OpensAgainAfterARestart(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	ok := must(t)
	v := ok(b.Create(ctx, "k", []byte("1")))
	seen := watchAll(t, b, "k")
	shows(t, seen, "k=1")
	srv.Shutdown()
	srv.Start()
	ends(t, seen, "k=1", "k=1")
	ok(bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes).Update(ctx, "k", []byte("2"), v))
	ends(t, seen, "k=2")
}

func TestWatch_TellsWhatWasDeletedWhileItWasAway(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	ok := must(t)
	ok(b.Create(ctx, "kept", []byte("1")))
	marked := ok(b.Create(ctx, "marked", []byte("1")))
	ok(b.Create(ctx, "purged", []byte("1")))
	seen := watchAll(t, b, ">")
	shows(t, seen, "kept=1", "marked=1", "purged=1")

	cut := newCut(t, srv.URL())
	behind := bucket(t, testkit.Connect(t, cut.URL()), events.BucketRoutes)
	late := watchAll(t, behind, ">")
	shows(t, late, "kept=1", "marked=1", "purged=1")
	cut.Cut()
	if err := b.Delete(ctx, "marked", marked); err != nil {
		t.Fatal(err)
	}
	// Without a trace, as a limit or a person may do it.
	if err := rawStream(t, srv.URL(), events.BucketRoutes).Purge(ctx, jetstream.WithPurgeSubject("$KV.RINGWAY_ROUTES.purged")); err != nil {
		t.Fatal(err)
	}
	cut.Heal()
	ends(t, late, "kept=1", "marked=-", "purged=-")
	before := map[string]events.Version{}
	for _, e := range late.list() {
		if e.Deleted() && !e.Version.After(before[e.Key]) {
			t.Errorf("the deletion of %s has version %v, its value %v", e.Key, e.Version, before[e.Key])
		}
		before[e.Key] = e.Version
	}
}

func TestWatch_FollowsAWipedBus(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	ok := must(t)
	ok(b.Create(ctx, "both", []byte("old")))
	ok(b.Create(ctx, "old", []byte("old")))
	seen := watchAll(t, b, "")
	shows(t, seen, "both=old", "old=old")
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	ends(t, seen, "both=-", "old=-")
	ok(bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes).Create(ctx, "both", []byte("new")))
	ends(t, seen, "both=-", "old=-", "both=new")
	all := seen.list()
	for _, e := range all[len(all)-3:] {
		if !e.Version.Foreign(all[0].Version) {
			t.Errorf("%s has version %v of the old life", e.Key, e.Version)
		}
	}
	if b.Incarnation() != all[len(all)-1].Version.Incarnation {
		t.Error("the bucket does not know its new incarnation")
	}
}

// Somebody deletes the bucket under living connections.
func TestWatch_FollowsADeletedBucket(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	ok := must(t)
	v := ok(b.Create(ctx, "k", []byte("old")))
	seen := watchAll(t, b, "")
	shows(t, seen, "k=old")
	js := rawJS(t, srv.URL())
	if err := js.DeleteKeyValue(ctx, events.BucketRoutes); err != nil {
		t.Fatal(err)
	}
	ends(t, seen, "k=-")
	_, err := b.Update(ctx, "k", []byte("stale"), v)
	wantErr(t, err, events.ErrConflict)
	ok(b.Create(ctx, "k", []byte("new")))
	ends(t, seen, "k=-", "k=new")
}

func TestWatch_NoticesAFrozenBus(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	srv := testkit.StartBusProcess(t)
	c := testkit.Connect(t, srv.URL())
	b := bucket(t, c, events.BucketRoutes)
	must(t)(b.Create(ctx, "k", []byte("1")))
	seen := watchAll(t, b, "")
	shows(t, seen, "k=1")
	thaw := srv.Pause()
	testkit.Eventually(t, func() error {
		if c.Connected() {
			return errors.New("a frozen bus counts as connected")
		}
		return nil
	})
	if err := c.Publish("ringway.hb.agent.h1", events.HostHeartbeat{}); err == nil {
		t.Error("publishing to a frozen bus succeeds")
	}
	thaw()
	ends(t, seen, "k=1", "k=1")
}

func TestWatch_EndsWithItsConnection(t *testing.T) {
	cfg := bus.DefaultConfig()
	cfg.URL = testkit.StartBus(t).URL()
	c, err := bus.Connect(t.Context(), cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	b := bucket(t, c, events.BucketRoutes)
	ended := make(chan error)
	go func() { ended <- b.Watch(t.Context(), "", func(events.Entry) {}) }()
	c.Close()
	wantErr(t, <-ended, nats.ErrConnectionClosed)
}

// What a strange hand puts on the bus is delivered as it is, not trusted.
func TestWatch_PassesRubbishOn(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	seen := watchAll(t, b, "")
	if _, err := rawJS(t, srv.URL()).Publish(ctx, "$KV.RINGWAY_ROUTES.service.web", []byte("\x00{")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		if got := seen.list(); len(got) != 1 || string(got[0].Value) != "\x00{" {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	if _, err := events.DecodeRoute(seen.list()[0].Value); err == nil || !strings.Contains(err.Error(), "decode route") {
		t.Fatalf("got %v", err)
	}
}

// rawJS is a stranger's connection, without anything of ours.
func rawJS(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func rawStream(t *testing.T, url, bucket string) jetstream.Stream {
	t.Helper()
	s, err := rawJS(t, url).Stream(testkit.Context(t), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The values stay, the versions of before are foreign, and whoever opens or
// watches the bucket anew is in its new life.
func TestBucket_BeginsANewLifeWithWhatItHas(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b, other := bucket(t, testkit.Connect(t, srv.URL()), events.BucketAssign), testkit.Connect(t, srv.URL())
	before := must(t)(b.Create(ctx, "h1", []byte("one")))
	theirs := bucket(t, other, events.BucketAssign)
	why := events.Rollback{Noticed: time.Now().UTC().Round(0), Reason: "h1 obeys a later one"}
	if b.Rollback() != nil {
		t.Fatalf("a bucket that was made has been rewound: %+v", b.Rollback())
	}
	if err := b.BeginAnew(ctx, why); err != nil {
		t.Fatal(err)
	}
	_, err := b.Update(ctx, "h1", []byte("late"), before)
	wantErr(t, err, events.ErrConflict)
	e, err := b.Get(ctx, "h1")
	if err != nil || string(e.Value) != "one" || !e.Version.Foreign(before) || e.Version.Revision != before.Revision {
		t.Fatalf("%+v, %v; it was %s", e, err, before)
	}
	// One who has not heard of it does not begin another.
	if err := theirs.BeginAnew(ctx, events.Rollback{Reason: "the same"}); err != nil {
		t.Fatal(err)
	}
	if now := bucket(t, other, events.BucketAssign).Incarnation(); now != e.Version.Incarnation {
		t.Fatalf("incarnation %s, want %s", now, e.Version.Incarnation)
	}
	if got := theirs.Rollback(); got == nil || *got != why {
		t.Fatalf("it says %+v, want %+v", got, why)
	}
	after := must(t)(b.Update(ctx, "h1", []byte("two"), e.Version))
	watching, stop := context.WithCancel(ctx)
	if err := theirs.Watch(watching, "h1", func(e events.Entry) {
		if e.Version != after || string(e.Value) != "two" {
			t.Errorf("watched %+v, want version %s", e, after)
		}
		stop()
	}); err != nil {
		t.Fatal(err)
	}
	srv.Shutdown() // and it lasts
	srv.Start()
	testkit.Eventually(t, func() error {
		e, err := b.Get(ctx, "h1")
		if err == nil && e.Version != after {
			err = fmt.Errorf("version %s, want %s", e.Version, after)
		}
		return err
	})
}
