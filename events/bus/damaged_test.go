package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ringway/events"
	"ringway/internal/testkit"
)

// damaged is a bus whose bucket has a bit flipped near a text, at an offset
// from its first letter.
func damaged(t *testing.T, near string, offset int, unclean bool) *testkit.Bus {
	t.Helper()
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
	for _, key := range []string{"service.a", "service.b", "service.c"} {
		v := must(t)(b.Create(t.Context(), key, []byte(key+" 1")))
		must(t)(b.Update(t.Context(), key, []byte(key+" 2"), v))
	}
	srv.Shutdown()
	msgs := filepath.Join(srv.Config.Store, "jetstream", "*", "streams", "KV_"+events.BucketDesired, "msgs")
	blocks, err := filepath.Glob(filepath.Join(msgs, "*.blk"))
	testkit.Must(t, err)
	block := blocks[0]
	text, err := os.ReadFile(block)
	testkit.Must(t, err)
	at := bytes.Index(text, []byte(near))
	if len(blocks) != 1 || at < 0 {
		t.Fatalf("%d blocks, %q at %d", len(blocks), near, at)
	}
	text[at+offset] ^= 4
	testkit.Must(t, os.WriteFile(block, text, 0o600))
	if unclean {
		testkit.Must(t, os.Remove(filepath.Join(filepath.Dir(block), "index.db")))
	}
	srv.Start()
	return srv
}

// Whatever record is damaged, the first values end, and only the key whose
// newest record it is, is left out. After an unclean stop the bus cuts off all that is
// behind the record.
func TestEntries_EndWhateverRecordIsDamaged(t *testing.T) {
	t.Parallel()
	keys := []string{"service.a", "service.b", "service.c"}
	for at, key := range keys {
		for version := 1; version <= 2; version++ {
			for where, offset := range map[string]int{"value": 2, "length": -len("$KV.RINGWAY_DESIRED."+key) - 22} {
				near := fmt.Sprintf("%s %d", key, version)
				f := func(name string, unclean bool, want ...string) {
					t.Run(near+" "+where+" "+name, func(t *testing.T) {
						b := bucket(t, testkit.Connect(t, damaged(t, near, offset, unclean).URL()), events.BucketDesired)
						all, err := b.Entries(testkit.Context(t))
						testkit.Must(t, err)
						got := []string{}
						for _, e := range all {
							got = append(got, string(e.Value))
						}
						if !slices.Equal(got, want) {
							t.Errorf("got %q, want %q", got, want)
						}
					})
				}
				var left, before []string
				for i, k := range keys {
					if i != at || version == 1 {
						left = append(left, k+" 2")
					}
					if i < at {
						before = append(before, k+" 2")
					}
				}
				if version == 2 {
					before = append(before, near[:len(near)-1]+"1")
				}
				f("clean", false, left...)
				f("unclean", true, before...)
			}
		}
	}
}

// A key whose newest record is damaged is absent, and can be created again.
func TestWatch_GoesOnAfterDamage(t *testing.T) {
	ctx := testkit.Context(t)
	b := bucket(t, testkit.Connect(t, damaged(t, "service.b 2", 2, false).URL()), events.BucketDesired)
	var got recorder[string]
	watching, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.Watch(watching, "", func(e events.Entry) { got.add(string(e.Value)) }) }()
	testkit.Eventually(t, func() error { return sameText(fmt.Append(nil, got.list()), "[service.a 2 service.c 2]") })
	must(t)(b.Create(ctx, "service.b", []byte("service.b 3")))
	testkit.Eventually(t, func() error { return sameText(fmt.Append(nil, got.list()), "[service.a 2 service.c 2 service.b 3]") })
	stop()
	testkit.Must(t, <-done)
}

// The bus stops writing when a record that it cannot read is to make room. A
// bucket that was repaired takes any number of writes.
func TestRepair_WritesGoOnWhateverRecordIsDamaged(t *testing.T) {
	t.Parallel()
	f := func(near string, former bool, want ...string) {
		t.Run(fmt.Sprintf("%s former=%v", near, former), func(t *testing.T) {
			ctx := testkit.Context(t)
			b := bucket(t, testkit.Connect(t, damaged(t, near, 2, false).URL()), events.BucketDesired)
			for _, want := range []bool{true, false} {
				if damaged, err := b.Repair(ctx, former); err != nil || damaged != want {
					t.Fatalf("repaired %v, %v, want %v", damaged, err, want)
				}
			}
			all, err := b.Entries(ctx)
			testkit.Must(t, err)
			var got []string
			for _, e := range all {
				got = append(got, string(e.Value))
				if e.Version.Revision <= 6 {
					t.Errorf("%s has version %s, which another value had", e.Key, e.Version)
				}
				for v := e.Version; v.Revision < e.Version.Revision+30; {
					v = must(t)(b.Update(ctx, e.Key, e.Value, v))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	for _, key := range []string{"service.a", "service.b", "service.c"} {
		f(key+" 1", false, "service.a 2", "service.b 2", "service.c 2")
	}
	f("service.a 2", false, "service.b 2", "service.c 2")
	f("service.b 2", true, "service.a 2", "service.b 1", "service.c 2")
	f("service.c 2", true, "service.a 2", "service.b 2", "service.c 1")
}
