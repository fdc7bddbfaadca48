package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestBucket_CompareAndSet(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketRoutes)

	v1, err := b.Create(ctx, "service.web", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if v1.Incarnation != b.Incarnation() || v1.Revision == 0 {
		t.Fatalf("version %v does not belong to incarnation %q", v1, b.Incarnation())
	}
	_, err = b.Create(ctx, "service.web", []byte("again"))
	wantErr(t, err, events.ErrConflict)

	v2, err := b.Update(ctx, "service.web", []byte("two"), v1)
	if err != nil {
		t.Fatal(err)
	}
	if !v2.After(v1) {
		t.Fatalf("%v is not after %v", v2, v1)
	}
	_, err = b.Update(ctx, "service.web", []byte("late"), v1)
	wantErr(t, err, events.ErrConflict)
	_, err = b.Update(ctx, "service.web", []byte("foreign"), events.Version{Incarnation: "other", Revision: v2.Revision})
	wantErr(t, err, events.ErrConflict)
	_, err = b.Update(ctx, "service.web", []byte("blind"), events.Version{})
	wantErr(t, err, events.ErrConflict)

	e, err := b.Get(ctx, "service.web")
	if err != nil {
		t.Fatal(err)
	}
	if err := sameText(e.Value, "two"); err != nil || e.Version != v2 || e.Key != "service.web" {
		t.Fatalf("got %+v, %v, want version %v", e, err, v2)
	}
}

func TestBucket_Delete(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketAssign)
	v1, err := b.Create(ctx, "h1", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, b.Delete(ctx, "h1", at(v1, v1.Revision+7)), events.ErrConflict)
	if err := b.Delete(ctx, "h1", v1); err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(ctx, "h1")
	wantErr(t, err, events.ErrNotFound)
	_, err = b.Get(ctx, "h2")
	wantErr(t, err, events.ErrNotFound)

	v2, err := b.Create(ctx, "h1", nil)
	if err != nil {
		t.Fatalf("create after delete: %v", err)
	}
	if !v2.After(v1) {
		t.Fatalf("%v is not after %v", v2, v1)
	}
	if e, err := b.Get(ctx, "h1"); err != nil || e.Deleted() {
		t.Fatalf("an empty value is taken for none: %+v, %v", e, err)
	}
}

func TestBucket_Former(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketRoutes)
	if all, err := b.Former(ctx, "service.web"); err != nil || len(all) != 0 {
		t.Fatalf("of a key that never was: %+v, %v", all, err)
	}
	version, err := b.Create(ctx, "service.web", []byte("0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "service.web2", []byte("other")); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 10; i++ {
		if version, err = b.Update(ctx, "service.web", fmt.Append(nil, i), version); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.Former(ctx, "service.web")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, string(e.Value))
	}
	if strings.Join(got, " ") != "9 8 7 6 5 4 3 2" || all[0].Version != version {
		t.Fatalf("got %v, the newest %s, want the last eight and %s", got, all[0].Version, version)
	}
}

func TestBucket_Entries(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketDesired)
	if all, err := b.Entries(ctx); err != nil || len(all) != 0 {
		t.Fatalf("an empty bucket has %v, %v", all, err)
	}
	for i := range 100 {
		v, err := b.Create(ctx, fmt.Sprintf("service.s%d", i), []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if _, err = b.Update(ctx, fmt.Sprintf("service.s%d", i), []byte("b"), v); err != nil {
				t.Fatal(err)
			}
		}
		if i == 99 {
			if err := b.Delete(ctx, "service.s99", v); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, err := b.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 99 {
		t.Fatalf("got %d entries, want 99", len(all))
	}
	for _, e := range all {
		var i int
		if _, err := fmt.Sscanf(e.Key, "service.s%d", &i); err != nil {
			t.Fatal(err)
		}
		if err := sameText(e.Value, "ba"[i%2:i%2+1]); err != nil {
			t.Fatalf("%s: %v", e.Key, err)
		}
	}
}

// What is overwritten while it is listed is never delivered; the list must be
// complete all the same.
func TestBucket_EntriesWhileWritten(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
	const keys = 40
	for i := range keys {
		must(t)(b.Create(ctx, fmt.Sprintf("k%d", i), []byte("x")))
	}
	writing, enough := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for w := range 4 {
		other := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
		writers.Go(func() {
			for i := w; writing.Err() == nil; i += 4 {
				key := fmt.Sprintf("k%d", i%keys)
				if e, err := other.Get(ctx, key); err == nil {
					_, _ = other.Update(ctx, key, []byte("y"), e.Version) // some lose
				}
			}
		})
	}
	for range 50 {
		all, err := b.Entries(ctx)
		if err != nil || len(all) != keys {
			t.Errorf("got %d entries of %d keys, %v", len(all), keys, err)
			break
		}
	}
	enough()
	writers.Wait()
}

func TestBucket_RefusesWhatItCannotKeep(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, testkit.StartBus(t).URL()), events.BucketRoutes)
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "a*", "a.>", "a b", "ü", "a\r\nb"} {
		if _, err := b.Create(ctx, key, []byte("x")); err == nil {
			t.Errorf("key %q is accepted", key)
		}
	}
	_, err := b.Create(ctx, "big", bytes.Repeat([]byte("x"), 2<<20))
	if err == nil || errors.Is(err, events.ErrUnknownOutcome) || errors.Is(err, events.ErrConflict) {
		t.Fatalf("a value beyond NATS's limit: %v", err)
	}
	if _, err := b.Create(ctx, "fits", bytes.Repeat([]byte("x"), 900<<10)); err != nil {
		t.Fatalf("a value of 900 KiB: %v", err)
	}
}

func TestBucket_SameIncarnationForAll(t *testing.T) {
	srv := testkit.StartBus(t)
	const clients = 8
	ids := make(chan string, clients)
	for range clients {
		c := testkit.Connect(t, srv.URL())
		go func() {
			b, err := c.Bucket(t.Context(), events.BucketRoutes)
			if err != nil {
				ids <- err.Error()
				return
			}
			ids <- b.Incarnation()
		}()
	}
	first := <-ids
	for range clients - 1 {
		if id := <-ids; id != first {
			t.Fatalf("two clients see incarnations %q and %q", first, id)
		}
	}
}

func TestBucket_KeepsItsIncarnationOverARestart(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	b := bucket(t, c, events.BucketRoutes)
	v1, err := b.Create(ctx, "k", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	testkit.Eventually(t, func() error {
		if c.Connected() {
			return errors.New("still connected")
		}
		return nil
	})
	_, err = b.Update(ctx, "k", []byte("away"), v1)
	if err == nil || errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatalf("an update that was never sent: %v", err)
	}
	srv.Start()
	testkit.Eventually(t, func() error {
		_, err := b.Update(ctx, "k", []byte("two"), v1)
		return err
	})
	if b.Incarnation() != v1.Incarnation {
		t.Fatalf("incarnation %q became %q", v1.Incarnation, b.Incarnation())
	}
}

// A wiped bus starts its revisions again: without the incarnation, a leader of
// before would overwrite what a new one decided.
func TestBucket_RefusesVersionsOfAWipedBus(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	old := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	v1, err := old.Create(ctx, "k", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	v2, err := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes).Create(ctx, "k", []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if v2.Revision != v1.Revision || !v2.Foreign(v1) {
		t.Fatalf("want the same revision in another life, got %v and %v", v1, v2)
	}
	testkit.Eventually(t, func() error {
		_, err := old.Update(ctx, "k", []byte("stale"), v1)
		if err == nil {
			t.Fatal("a version of the wiped bus was taken")
		}
		if !errors.Is(err, events.ErrConflict) {
			return err
		}
		return nil
	})
	if e, err := old.Get(ctx, "k"); err != nil || e.Version != v2 || string(e.Value) != "new" {
		t.Fatalf("got %+v, %v", e, err)
	}
}

func TestBucket_TellsWhenTheOutcomeIsUnknown(t *testing.T) {
	srv := testkit.StartBusProcess(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	v, err := b.Create(testkit.Context(t), "k", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	srv.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = b.Update(ctx, "k", []byte("y"), v)
	wantErr(t, err, events.ErrUnknownOutcome)
}

// Revisions of the lease grow over a kill, whether it is still held or was given
// up: a term that is older than its predecessor would lose to it everywhere.
func TestLease_RevisionsGrowOverKill(t *testing.T) {
	t.Parallel()
	ctx := testkit.Context(t)
	srv := testkit.StartBusProcess(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketLease)
	var last events.Version
	for i := range 4 {
		v := must(t)(b.Create(ctx, events.LeaseKey, []byte("me")))
		if !last.Zero() && !v.After(last) {
			t.Fatalf("term %v does not follow %v", v, last)
		}
		last = v
		given := func() {
			testkit.Must(t, b.Delete(ctx, events.LeaseKey, v))
		}
		if i%2 == 0 {
			given()
		}
		srv.Kill()
		srv.Start()
		testkit.Eventually(t, func() error {
			e, err := b.Get(ctx, events.LeaseKey)
			if i%2 == 0 && errors.Is(err, events.ErrNotFound) {
				return nil
			}
			if err == nil && e.Version != v {
				t.Fatalf("got %v, want %v", e.Version, v)
			}
			return err
		})
		if i%2 == 1 {
			given()
		}
	}
}

// A bus ends no lease: it would by its own clock, which may leap.
func TestLease_DoesNotEndByTheClockOfTheBus(t *testing.T) {
	srv := testkit.StartBus(t)
	bucket(t, testkit.Connect(t, srv.URL()), events.BucketLease)
	s := rawStream(t, srv.URL(), events.BucketLease)
	if age := s.CachedInfo().Config.MaxAge; age != 0 {
		t.Errorf("it ends after %s", age)
	}
}

func TestBucket_KeepsWhatItAcknowledgedOverKill(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBusProcess(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
	last := events.Version{}
	for i := range 20 {
		v, err := b.Create(ctx, fmt.Sprintf("service.s%d", i), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		last = v
	}
	srv.Kill()
	srv.Start()
	testkit.Eventually(t, func() error {
		all, err := b.Entries(ctx)
		if err == nil && (len(all) != 20 || !slices.ContainsFunc(all, func(e events.Entry) bool { return e.Version == last })) {
			t.Fatalf("%d of 20 entries are left", len(all))
		}
		return err
	})
}
