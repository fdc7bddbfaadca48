package runtimetest_test

import (
	"strings"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

func (f *fixture) had(in agent.Instance, want string) {
	f.t.Helper()
	testkit.Eventually(f.t, func() error { return runtimetest.Get(in.Address, "/lives", want) })
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := f.rt.Stop(f.t.Context(), name, 5*time.Second); err != nil {
		f.t.Fatal(err)
	}
	if err := f.rt.Forget(f.t.Context(), name); err != nil {
		f.t.Fatal(err)
	}
}

func shardServerIsStarted(t *testing.T, f *fixture) {
	in := f.start(runtimetest.Shard("D1", "v1"))
	testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/heartbeat", "") })
	for _, want := range []string{"--id D1 ", "--engine sqlite", "--nats " + runtimetest.NATS} {
		if err := runtimetest.Get(in.Address, "/args", want); err != nil {
			t.Errorf("want %q: %v", want, err)
		}
	}
	auto := runtimetest.Shard("D2", "v2")
	auto.Engine = ""
	other := f.start(auto)
	testkit.Eventually(t, func() error { return runtimetest.Get(other.Address, "/args", "--engine auto") })
}

// The next instance finds what the last one left, whatever became of that.
func volumeOutlivesItsInstances(t *testing.T, f *fixture) {
	f.had(f.start(runtimetest.Shard("D1", "v1")), "D1 ")
	f.remove("D1")
	second := f.start(runtimetest.Shard("D2", "v1"))
	f.had(second, "D1 D2 ")
	f.had(f.start(runtimetest.Shard("D9", "v2")), "D9 ")
	f.Kill(t, second)
	testkit.Eventually(t, f.died("D2"))
	f.had(f.start(runtimetest.Shard("D3", "v1")), "D1 D2 D3 ") // before anybody forgets D2
	f.remove("D2")
	f.stop()
	f.open()
	if in, ok := f.find("D3"); !ok || !in.Running || in.Spec.Kind != events.KindShard || in.Spec.Volume != "v1" {
		t.Fatalf("adopted as %+v", in)
	}
	f.remove("D3")
	f.had(f.start(runtimetest.Shard("D4", "v1")), "D1 D2 D3 D4 ")
}

// A successor is started while its predecessor may still be stopping.
func volumeOfTwo(t *testing.T, f *fixture) {
	first := f.start(runtimetest.Shard("D1", "v1"))
	f.had(first, "D1 ")
	f.had(f.start(runtimetest.Shard("D2", "v1")), "D1 D2 ")
	f.had(first, "D1 D2 ")
}

// A command finds its volume by RINGWAY_DATA.
func commandWithAVolume(t *testing.T, f *fixture) {
	spec := runtimetest.Shell("S1", `echo kept > "$RINGWAY_DATA/note"`)
	spec.Volume = "v1"
	f.start(spec)
	testkit.Eventually(t, f.died("S1"))
	spec = runtimetest.Shell("S2", `read x < "$RINGWAY_DATA/note"; echo "$x $RINGWAY_VOLUME"; exit 3`)
	spec.Volume = "v1"
	f.start(spec)
	testkit.Eventually(t, f.died("S2"))
	if in, _ := f.find("S2"); !strings.Contains(in.Detail, "kept v1") {
		t.Fatalf("detail is %q", in.Detail)
	}
}

func specThatCannotBe(t *testing.T, f *fixture) {
	refuse := func(want string, change func(*events.InstanceSpec)) {
		t.Helper()
		spec := runtimetest.Shard("D1", "v1")
		change(&spec)
		if _, err := f.rt.Start(t.Context(), spec, runtimetest.Token); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, ok := f.find("D1"); ok {
			t.Errorf("%s: it is listed", want)
		}
	}
	refuse("needs a volume", func(s *events.InstanceSpec) { s.Volume = "" })
	refuse("volume: name", func(s *events.InstanceSpec) { s.Volume = "../../etc" })
	refuse(`kind "newer" is unknown`, func(s *events.InstanceSpec) { s.Kind = "newer" })
}
