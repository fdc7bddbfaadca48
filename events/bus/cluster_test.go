package bus_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/internal/testkit"
)

func TestCluster_GoesOnWithoutItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("elections take some seconds")
	}
	ctx := testkit.Context(t)
	cluster := testkit.StartBuses(t)
	c := testkit.Connect(t, testkit.URLs(cluster), func(cfg *bus.Config) { cfg.Replicas, cfg.Wait, cfg.Timeout = 3, true, 2*time.Second })
	b := bucket(t, c, events.BucketRoutes)
	ok := must(t)
	v := ok(b.Create(ctx, "k", []byte("1")))

	_, err := b.Create(ctx, "k", []byte("again"))
	wantErr(t, err, events.ErrConflict)
	_, err = b.Update(ctx, "k", []byte("late"), at(v, v.Revision+1))
	wantErr(t, err, events.ErrConflict)
	raceForOneVersion(t, b)

	seen := watchAll(t, b, "")
	ends(t, seen, "k=1", "race=x")
	before, after := event(events.VerbReady, "w1"), event(events.VerbDied, "w1")
	emit(t, c, before)

	js := rawJS(t, cluster[0].URL())
	s, err := js.Stream(ctx, events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	leader := s.CachedInfo().Cluster.Leader
	for _, srv := range cluster {
		if srv.Config.Name == leader {
			srv.Shutdown()
		}
	}
	emit(t, c, before, after) // across the election
	wantIDs(t, told(t, c, time.Time{}), before, after)
	testkit.Eventually(t, func() error { // an outcome may be unknown meanwhile
		e, err := b.Get(ctx, "k")
		if err == nil {
			_, err = b.Update(ctx, "k", []byte("2"), e.Version)
		}
		return err
	})
	testkit.Eventually(t, func() error {
		if all := seen.list(); string(all[len(all)-1].Value) != "2" {
			return fmt.Errorf("got %v", spell(all))
		}
		return nil
	})
}

// raceForOneVersion lets many update the same version at once. Replicated
// buckets have another code for those who come while one is being stored.
func raceForOneVersion(t *testing.T, b *kv.Bucket) {
	t.Helper()
	ctx := testkit.Context(t)
	v := must(t)(b.Create(ctx, "race", []byte("x")))
	for won := 0; won < 10; {
		testkit.Must(t, ctx.Err()) // nobody wins any more
		var winners recorder[events.Version]
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				next, err := b.Update(ctx, "race", []byte("x"), v)
				if err == nil {
					winners.add(next)
				} else if !errors.Is(err, events.ErrConflict) {
					t.Errorf("a loser is told %v", err)
				}
			})
		}
		wait.Wait()
		all := winners.list()
		if len(all) > 1 {
			t.Fatalf("%d won", len(all))
		}
		if len(all) == 0 { // each was refused for another on its way; seen once, on a cluster under load
			now, err := b.Get(ctx, "race")
			if err != nil || now.Version != v {
				t.Fatalf("nobody won, and it went from %v to %v, %v", v, now.Version, err)
			}
			continue
		}
		v, won = all[0], won+1
	}
}
