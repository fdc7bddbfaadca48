package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

// faulty is a real runtime behind faults.
type faulty struct {
	agent.Runtime
	hangs  atomic.Value // name of an instance for which Start and Stop hang
	deaf   atomic.Bool  // it tells no deaths
	silent atomic.Bool  // List fails
	late   atomic.Bool  // Start answers after the death was told; List says all runs

	reported  chan struct{} // one death
	overtaken atomic.Bool
}

func (f *faulty) hang(ctx context.Context, name string) error {
	for f.hangs.Load() == name {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (f *faulty) Run(ctx context.Context, died func(agent.Instance)) error {
	return f.Runtime.Run(ctx, func(in agent.Instance) {
		if !f.deaf.Load() {
			died(in)
			select {
			case f.reported <- struct{}{}:
			default:
			}
		}
	})
}

func (f *faulty) Start(ctx context.Context, spec events.InstanceSpec, token events.Token) (agent.Instance, error) {
	if err := f.hang(ctx, spec.Name); err != nil {
		return agent.Instance{}, err
	}
	in, err := f.Runtime.Start(ctx, spec, token)
	if err == nil && f.late.Load() {
		select {
		case <-f.reported:
			f.overtaken.Store(true)
		case <-ctx.Done():
		}
	}
	return in, err
}

func (f *faulty) Stop(ctx context.Context, name string, grace time.Duration) error {
	if err := f.hang(ctx, name); err != nil {
		return err
	}
	return f.Runtime.Stop(ctx, name, grace)
}

func (f *faulty) List(ctx context.Context) ([]agent.Instance, error) {
	if f.silent.Load() {
		return nil, errors.New("the engine is away")
	}
	all, err := f.Runtime.List(ctx)
	for i := range all {
		all[i].Running = all[i].Running || f.late.Load() // so that only the notice tells
	}
	return all, err
}

func newFaulty(t *testing.T, prepare func(*faulty)) (*fixture, *faulty) {
	rt := &faulty{reported: make(chan struct{}, 1)}
	prepare(rt)
	return newFaultyFixture(t, func(real agent.Runtime) agent.Runtime {
		rt.Runtime = real
		return rt
	}), rt
}

func TestAgent_AHungRuntimeIsReportedAndWedgesNothing(t *testing.T) {
	f, rt := newFaulty(t, func(rt *faulty) { rt.hangs.Store("S1") })
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=starting S2=ready")
	slow := func(verb string) {
		t.Helper()
		testkit.Eventually(t, func() error {
			if d := f.last("S1").Detail; !strings.Contains(d, verb+": the runtime has not answered") {
				return fmt.Errorf("detail is %q", d)
			}
			return nil
		})
	}
	slow("start")
	f.assign(life("a", 1), 2, "S1", "S2", "S3")
	f.eventually("S1=starting S2=ready S3=ready")
	f.assign(life("a", 1), 3, "S1", "S3")
	f.eventually("S1=starting S3=ready")
	rt.hangs.Store("S3")
	grace := runtimetest.Sample("S3")
	grace.Grace = 0
	f.board.put(entry(t, life("a", 1), 4, runtimetest.Sample("S1"), grace)) // its grace is over at once
	f.assign(life("a", 1), 5, "S1")
	f.eventually("S1=ready S3=stopping") // S1 was let go
	rt.hangs.Store("")
	f.eventually("S1=ready")
}

func TestAgent_FindsADeathThatNobodyReported(t *testing.T) {
	f, rt := newFaulty(t, func(*faulty) {})
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	rt.deaf.Store(true)
	if err := syscall.Kill(f.last("S1").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=dead")
}

// An agent that does not know what runs says nothing: an empty heartbeat would
// have everything replaced. Nor does it start what may run already.
func TestAgent_IsSilentUntilItKnowsWhatRuns(t *testing.T) {
	f, rt := newFaulty(t, func(rt *faulty) { rt.silent.Store(true) })
	f.assign(life("a", 1), 1, "S1")
	testkit.Eventually(t, func() error { // the assignment has arrived
		_, err := os.Stat(filepath.Join(f.dir, "agent.json"))
		return err
	})
	if got := f.states(); got != "silence" {
		t.Fatalf("said %q", got)
	}
	if all, _ := f.rt.(*faulty).Runtime.List(t.Context()); len(all) != 0 {
		t.Fatalf("started %v", all)
	}
	rt.silent.Store(false)
	f.eventually("S1=ready")
	rt.silent.Store(true) // later it is a fault to report
	f.detail("the engine is away")
	rt.silent.Store(false)
	f.detail("")
	f.eventually("S1=ready")
}

func TestAgent_AnInstanceThatIsWantedAgainWhileItStopsIsStartedAnew(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	mark, leave := filepath.Join(dir, "ready"), filepath.Join(dir, "leave")
	slow := runtimetest.Shell("S1", `trap 'while [ ! -e "$LEAVE" ]; do sleep 0.05; done; exit 0' TERM; : > "$MARK"; while :; do sleep 0.05; done`)
	slow.Env = map[string]string{"MARK": mark, "LEAVE": leave}
	f.board.put(entry(t, life("a", 1), 1, slow))
	testkit.Eventually(t, func() error { _, err := os.Stat(mark); return err })
	f.eventually("S1=starting")
	pid := f.last("S1").PID
	f.assign(life("a", 1), 2)
	f.eventually("S1=stopping")
	f.assign(life("a", 1), 3, "S1") // a sample replica now
	testkit.Must(t, os.WriteFile(leave, nil, 0o600))
	f.eventually("S1=ready")
	if f.last("S1").PID == pid {
		t.Fatal("it is the old one")
	}
}

func TestAgent_GivesUpOnWhatDoesNotStop(t *testing.T) {
	f, rt := newFaulty(t, func(*faulty) {})
	spec := runtimetest.Sample("S1")
	spec.Grace = events.Duration(100 * time.Millisecond)
	f.board.put(entry(t, life("a", 1), 1, spec))
	f.eventually("S1=ready")
	pid := f.last("S1").PID
	rt.hangs.Store("S1")
	err := f.end(lifeline.ErrClosed)
	if err == nil || !strings.Contains(err.Error(), "1 instances did not stop") {
		t.Errorf("got %v", err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(pid, nil, 0, nil)
}
