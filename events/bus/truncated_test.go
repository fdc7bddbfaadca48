package bus_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ringway/events"
	"ringway/internal/testkit"
)

// A server whose messages are cut off in the middle comes up with what is
// whole.
func TestStart_WithATruncatedStore(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
	for _, key := range []string{"service.a", "service.b"} {
		must(t)(b.Create(ctx, key, []byte("whole")))
	}
	srv.Shutdown()
	blocks, err := filepath.Glob(filepath.Join(srv.Config.Store, "jetstream", "*", "streams", "KV_"+events.BucketDesired, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks: %v, %v", blocks, err)
	}
	info, err := os.Stat(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blocks[0], info.Size()-3); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	testkit.Eventually(t, func() error {
		e, err := b.Get(ctx, "service.a")
		if err == nil {
			err = sameText(e.Value, "whole")
		}
		return err
	})
	if _, err := b.Get(ctx, "service.b"); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("the truncated value: %v", err)
	}
}
