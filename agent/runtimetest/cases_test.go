package runtimetest_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/runtimetest"
	"ringway/internal/testkit"
)

func startServesAndIsListed(t *testing.T, f *fixture) {
	spec := runtimetest.Sample("S1")
	spec.Env = map[string]string{"A": "b"}
	in := f.start(spec)
	if !in.Running || in.Address == "" || in.PID == 0 || in.Started.IsZero() || in.Token != runtimetest.Token {
		t.Fatalf("got %+v", in)
	}
	testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/home", "Hello from Server: S1") })
	if listed, ok := f.find("S1"); !ok || !reflect.DeepEqual(listed, in) {
		t.Fatalf("listed as %+v, started as %+v", listed, in)
	}
}

func runsACommand(t *testing.T, f *fixture) {
	// {port} and PORT are the same; what the service sets does not override ours.
	spec := runtimetest.Shell("S1", `[ "$PORT" = {port} ] && [ "$RINGWAY_INSTANCE" = S1 ] && [ "$COLOUR" = "light blue" ] && [ -z "$RINGWAY_LIFELINE" ] && echo as promised; exit 9`)
	spec.Env = map[string]string{"COLOUR": "light blue", "PORT": "1", "RINGWAY_INSTANCE": "x"}
	f.start(spec)
	testkit.Eventually(t, f.died("S1"))
	if in, _ := f.find("S1"); !strings.Contains(in.Detail, "as promised") {
		t.Fatalf("the environment is not as promised: %s", in.Detail)
	}
}

func nameIsUsedOnce(t *testing.T, f *fixture) {
	in := f.start(runtimetest.Sample("S1"))
	if _, err := f.rt.Start(t.Context(), runtimetest.Sample("S1"), runtimetest.Token); !errors.Is(err, agent.ErrExists) {
		t.Fatalf("second start: %v", err)
	}
	f.Kill(t, in)
	testkit.Eventually(t, f.died("S1"))
	if _, err := f.rt.Start(t.Context(), runtimetest.Sample("S1"), runtimetest.Token); !errors.Is(err, agent.ErrExists) {
		t.Fatalf("start of a dead one: %v", err)
	}
	if err := f.rt.Forget(t.Context(), "S1"); err != nil {
		t.Fatal(err)
	}
	if again := f.start(runtimetest.Sample("S1")); again.PID == in.PID {
		t.Fatalf("the same process again: %+v", again)
	}
	for _, name := range []string{"", "x", "../up", "a b", strings.Repeat("n", 100)} {
		if _, err := f.rt.Start(t.Context(), runtimetest.Sample(name), runtimetest.Token); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

func stopIsGracefulAndIdempotent(t *testing.T, f *fixture) {
	in := f.start(runtimetest.Sample("S1"))
	testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/home", "") })
	begun := time.Now()
	for range 2 {
		if err := f.rt.Stop(t.Context(), "S1", time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	dead, ok := f.find("S1")
	if !ok || dead.Running || !strings.Contains(dead.Detail, "status 0") {
		t.Fatalf("listed as %+v", dead)
	}
	testkit.Eventually(t, f.died("S1"))
	if err := runtimetest.Get(in.Address, "/home", ""); err == nil {
		t.Fatal("it still answers")
	}
	if err := f.rt.Stop(t.Context(), "nobody", time.Second); err != nil {
		t.Fatalf("stop of an unknown one: %v", err)
	}
}

func stopKillsAfterTheGracePeriod(t *testing.T, f *fixture) {
	f.startIgnoringSIGTERM("S1")
	begun := time.Now()
	if err := f.rt.Stop(t.Context(), "S1", 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	if in, _ := f.find("S1"); in.Running {
		t.Fatalf("listed as %+v", in)
	}
}

func stopEndsWithItsContext(t *testing.T, f *fixture) {
	f.startIgnoringSIGTERM("S1")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.rt.Stop(ctx, "S1", time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func deathIsReportedAtOnce(t *testing.T, f *fixture) {
	in := f.start(runtimetest.Sample("S1"))
	testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/home", "") })
	begun := time.Now()
	f.Kill(t, in)
	testkit.Eventually(t, f.died("S1"))
	took := time.Since(begun)
	t.Logf("reported after %s", took)
	if took > 5*time.Second {
		t.Errorf("reported after %s", took)
	}
	if dead, _ := f.find("S1"); dead.Running || dead.Detail == "" || dead.PID != in.PID {
		t.Fatalf("listed as %+v", dead)
	}
}

func endByItselfIsExplained(t *testing.T, f *fixture) {
	f.start(runtimetest.Shell("S1", `echo no such database >&2; exit 3`))
	testkit.Eventually(t, f.died("S1"))
	dead, _ := f.find("S1")
	if !strings.Contains(dead.Detail, "3") || !strings.Contains(dead.Detail, "no such database") {
		t.Fatalf("detail is %q", dead.Detail)
	}
}

func commandThatIsNotThere(t *testing.T, f *fixture) {
	spec := runtimetest.Sample("S1")
	spec.Command = []string{"/no/such/command"}
	if _, err := f.rt.Start(t.Context(), spec, runtimetest.Token); err != nil {
		return // as good
	}
	testkit.Eventually(t, f.died("S1"))
	if dead, _ := f.find("S1"); !strings.Contains(dead.Detail, "/no/such/command") {
		t.Fatalf("detail is %q", dead.Detail)
	}
}

func forgetRefusesTheLiving(t *testing.T, f *fixture) {
	f.start(runtimetest.Sample("S1"))
	if err := f.rt.Forget(t.Context(), "S1"); !errors.Is(err, agent.ErrRunning) {
		t.Fatalf("got %v", err)
	}
	if err := f.rt.Forget(t.Context(), "nobody"); err != nil {
		t.Fatalf("forget of an unknown one: %v", err)
	}
	if err := f.rt.Stop(t.Context(), "S1", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.rt.Forget(t.Context(), "S1"); err != nil {
			t.Fatal(err)
		}
	}
	if in, ok := f.find("S1"); ok {
		t.Fatalf("still listed: %+v", in)
	}
}

func successorAdopts(t *testing.T, f *fixture) {
	lives := f.start(runtimetest.Sample("S1"))
	dies := f.start(runtimetest.Sample("S2"))
	known := f.start(runtimetest.Sample("S3"))
	f.Kill(t, known)
	testkit.Eventually(t, f.died("S3"))
	f.stop()
	f.Kill(t, dies)
	f.open()

	if in, _ := f.find("S1"); !reflect.DeepEqual(in, lives) {
		t.Fatalf("adopted as %+v, was %+v", in, lives)
	}
	testkit.Eventually(t, func() error { return runtimetest.Get(lives.Address, "/home", "S1") })
	// What died while nobody watched is dead at once or as soon as it is seen.
	testkit.Eventually(t, func() error {
		// An engine has forgotten its pid by then.
		if in, _ := f.find("S2"); in.Running || in.PID != dies.PID && in.PID != 0 || in.Detail == "" {
			return fmt.Errorf("listed as %+v", in)
		}
		return nil
	})
	if in, _ := f.find("S3"); in.Running || in.Detail == "" {
		t.Fatalf("the dead one is listed as %+v", in)
	}
	f.Kill(t, lives)
	testkit.Eventually(t, f.died("S1"))
}

func manyAtOnce(t *testing.T, f *fixture) {
	var wait sync.WaitGroup
	found := make([]agent.Instance, 8)
	for i := range found {
		wait.Go(func() {
			in, err := f.rt.Start(t.Context(), runtimetest.Sample(fmt.Sprintf("S%d", i)), runtimetest.Token)
			if err != nil {
				t.Error(err)
			}
			found[i] = in
		})
	}
	wait.Wait()
	for i, in := range found {
		testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/home", fmt.Sprintf("Server: S%d", i)) })
	}
}
