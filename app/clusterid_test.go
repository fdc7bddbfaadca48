package app

import (
	"context"
	"errors"
	"slices"
	"testing"

	"ringway/events"
	"ringway/internal/testkit"
)

// All agents of a cluster agree on its id, also on a bus that was wiped; another cluster has another.
func TestClusterIDs(t *testing.T) {
	srv := testkit.StartBus(t)
	of := func(url string) hosts {
		conn := testkit.Connect(t, url)
		return hosts{conn.Values(events.BucketHosts), conn}
	}
	ask := func(h hosts, dir string) []string {
		t.Helper()
		ids, err := clusterIDs(testkit.Context(t), h, dir, testkit.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	one, two, fresh := t.TempDir(), t.TempDir(), t.TempDir()
	h := of(srv.URL())
	ids := ask(h, one)
	if len(ids) != 1 || ids[0] == "" || !slices.Equal(ask(h, two), ids) || !slices.Equal(ask(h, one), ids) {
		t.Fatalf("got %v, and the others not the same", ids)
	}
	if other := ask(of(testkit.StartBus(t).URL()), t.TempDir()); slices.Equal(other, ids) {
		t.Error("two clusters have one id")
	}

	srv.Shutdown()
	if again := ask(h, one); !slices.Equal(again, ids) { // without a bus
		t.Errorf("got %v, want %v", again, ids)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := clusterIDs(ctx, h, fresh, testkit.Log(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("an agent that knows no id went on without a bus: %v", err)
	}
	srv.Wipe()
	srv.Start()
	h = of(srv.URL())
	if again := ask(h, one); !slices.Equal(again, ids) {
		t.Errorf("got %v, want %v", again, ids)
	}

	// Somebody who knew nothing was first on a bus that was wiped.
	srv.Shutdown()
	srv.Wipe()
	srv.Start()
	h = of(srv.URL())
	made := ask(h, fresh)
	if all := ask(h, two); !slices.Equal(all, append(slices.Clone(made), ids...)) {
		t.Errorf("got %v, want %v and %v", all, made, ids)
	}
}
