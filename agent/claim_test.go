package agent_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/process"
	"ringway/events"
	"ringway/internal/testkit"
)

// rival is an agent of the same name in a directory of its own. Its instances are to be listed.
func (f *fixture) rival(t *testing.T, silence time.Duration) (run func(ctx context.Context) error, rt *process.Runtime, dir string) {
	t.Helper()
	dir = t.TempDir()
	cfg := process.DefaultConfig()
	cfg.Dir, cfg.Host = filepath.Join(dir, "process"), "host-1"
	rt, err := process.Open(t.Context(), cfg, nil, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		all, _ := rt.List(context.Background()) // never fails
		for _, in := range all {
			_ = syscall.Kill(-in.PID, syscall.SIGKILL)
			_, _ = syscall.Wait4(in.PID, nil, 0, nil)
		}
		_ = rt.Close()
	})
	c := config(dir)
	c.Silence = silence
	a, err := agent.New(c, rt, f.board, f.hosts, f.air, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	return a.Run, rt, dir
}

func (f *fixture) claimed(t *testing.T, dir string) agent.Claim {
	t.Helper()
	testkit.Eventually(t, func() error {
		if c := f.hosts.claim(); c.Data != dir {
			return fmt.Errorf("the name is that of %s", c)
		}
		return nil
	})
	return f.hosts.claim()
}

func TestClaim_SecondAgentOfANameIsRefusedBeforeItStartsAnything(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	before := f.last("S1").PID
	run, rt, _ := f.rival(t, time.Hour)
	err := run(t.Context())
	if !errors.Is(err, agent.ErrTaken) || !strings.Contains(err.Error(), f.dir) || !strings.Contains(err.Error(), "--host") {
		t.Fatalf("got %v", err)
	}
	if all, err := rt.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("the second runs %v, %v", all, err)
	}
	f.more(2)
	if c := f.claimed(t, f.dir); c.Host != "host-1" || f.last("S1").PID != before {
		t.Errorf("the first is no more what it was: %s, %+v", c, f.last("S1"))
	}
}

func TestClaim_RestartedAgentIsBackAtOnce(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	was := f.claimed(t, f.dir)
	testkit.Must(t, f.end(nil))
	silent := len(f.all())
	watch := testkit.StartWatch()
	f.open()
	watch.Within(t, events.HeartbeatInterval+time.Second, func() error {
		if len(f.all()) == silent {
			return errors.New("it is not heard")
		}
		return nil
	})
	if c := f.claimed(t, f.dir); c.ID != was.ID || c.Incarnation == was.Incarnation || !c.Since.Equal(was.Since) {
		t.Errorf("got %+v after %+v", c, was)
	}
}

func TestClaim_NameOfAnAgentThatIsGoneIsFreeAfterSomeSilence(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1)
	was := f.claimed(t, f.dir)
	testkit.Must(t, f.end(nil))
	run, _, dir := f.rival(t, 300*time.Millisecond)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	if c := f.claimed(t, dir); c.ID == was.ID || !c.Since.After(was.Since) {
		t.Errorf("got %+v after %+v", c, was)
	}
	cancel(lifeline.ErrClosed)
	testkit.Must(t, <-ended)
}

// The bus may forget who had the name, or name somebody from before.
func TestClaim_IsRepeatedOnABusThatWasWipedOrRestored(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	was := f.claimed(t, f.dir)
	for _, value := range [][]byte{nil, []byte("rubbish"), encode(t, agent.Claim{Host: "host-1", ID: "old", Incarnation: "old", Since: was.Since.Add(-time.Hour)})} {
		f.hosts.set(value)
		if c := f.claimed(t, f.dir); c != was {
			t.Errorf("after %s: got %+v, want %+v", value, c, was)
		}
	}
	f.eventually("S1=ready")
}

// Two that live, because the bus forgot the first when the second came: the first stays.
func TestClaim_OfTwoThatLiveTheFirstStays(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	f.claimed(t, f.dir)
	run, _, _ := f.rival(t, time.Hour)
	f.hosts.forget() // unseen
	if err := run(t.Context()); !errors.Is(err, agent.ErrTaken) || !strings.Contains(err.Error(), f.dir) {
		t.Fatalf("got %v", err)
	}
	f.claimed(t, f.dir)
	f.eventually("S1=ready")
}
