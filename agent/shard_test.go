package agent_test

import (
	"context"
	"testing"

	"ringway/agent/runtimetest"
	"ringway/events"
)

// The controller gives a volume back to whoever it finds it with.
func TestAgent_ReportsWhatAShardServerIs(t *testing.T) {
	f := newFixture(t)
	f.board.put(entry(t, life("a", 1), 1, runtimetest.Shard("D1", "v1")))
	f.eventually("D1=ready")
	if s := f.last("D1"); s.Kind != events.KindShard || s.Volume != "v1" || s.Service != "StudT" || s.ID != 1 {
		t.Fatalf("got %+v", s)
	}
	pid, before := f.last("D1").PID, len(f.all())
	if err := f.end(context.Canceled); err != nil {
		t.Fatal(err)
	}
	f.open()
	f.more(len(f.all()) - before + 2)
	f.eventually("D1=ready")
	if s := f.last("D1"); s.PID != pid || s.Kind != events.KindShard || s.Volume != "v1" {
		t.Fatalf("adopted as %+v", s)
	}
	f.board.put(entry(t, life("a", 1), 2, runtimetest.Shard("D2", "v1"), runtimetest.Shard("D3", "v3")))
	f.eventually("D2=ready D3=ready")
	if err := runtimetest.Get(f.last("D2").Address, "/lives", "D1 D2 "); err != nil {
		t.Fatal(err)
	}
}
