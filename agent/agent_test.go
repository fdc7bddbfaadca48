package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/statedir"
	"ringway/internal/testkit"
)

func TestAgent_RunsWhatIsAssigned(t *testing.T) {
	f, rt := newFaulty(t, func(*faulty) {})
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	if err := runtimetest.Get(f.last("S1").Address, "/home", "Server: S1"); err != nil {
		t.Fatal(err)
	}
	heartbeat := f.all()[len(f.all())-1]
	if heartbeat.Token != life("a", 1) || heartbeat.Assigned.Revision != 1 || heartbeat.Load.CPUs == 0 || heartbeat.Load.Memory == 0 || heartbeat.Incarnation == "" {
		t.Fatalf("got %+v", heartbeat)
	}
	kept := f.last("S2").PID
	rt.hangs.Store("S1") // a state that lasts, for a heartbeat that is overtaken is not sent
	f.assign(life("a", 1), 2, "S2", "S3")
	f.eventually("S1=stopping S2=ready S3=ready")
	rt.hangs.Store("")
	f.eventually("S2=ready S3=ready")
	if f.last("S2").PID != kept {
		t.Fatal("S2 was started again")
	}
}

func TestAgent_ReportsADeathAtOnceAndDoesNotRestart(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	begun := testkit.StartWatch()
	if err := syscall.Kill(f.last("S1").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=dead S2=ready")
	took := begun.Elapsed()
	t.Logf("reported %s after kill -9", took)
	if took > 5*time.Second {
		t.Errorf("reported only after %s", took)
	}
	if d := f.last("S1").Detail; !strings.Contains(d, "killed") {
		t.Errorf("detail is %q", d)
	}
	f.more(3)
	f.eventually("S1=dead S2=ready")
	f.assign(life("a", 1), 2, "S2", "S9") // the controller's replacement
	f.eventually("S2=ready S9=ready")
}

func TestAgent_TakesAHungInstanceOutAndBack(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	pid := f.last("S1").PID
	begun := testkit.StartWatch()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=unready")
	took := begun.Elapsed()
	t.Logf("unready %s after SIGSTOP", took)
	if took > 15*time.Second {
		t.Errorf("unready only after %s", took)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready")
	if f.last("S1").PID != pid {
		t.Fatal("it was started again")
	}
}

func TestAgent_ReportsAStartThatFails(t *testing.T) {
	f := newFixture(t)
	f.board.put(entry(t, life("a", 1), 1, runtimetest.Shell("S1", "echo no licence; exit 4")))
	f.eventually("S1=dead")
	if d := f.last("S1").Detail; !strings.Contains(d, "4") || !strings.Contains(d, "no licence") {
		t.Errorf("detail is %q", d)
	}
	// A directory that is gone is what a full disk looks like.
	if err := os.Rename(filepath.Join(f.dir, "process", "instances"), filepath.Join(f.dir, "away")); err != nil {
		t.Fatal(err)
	}
	f.assign(life("a", 1), 2, "S1", "S2")
	f.eventually("S1=dead S2=dead")
	if d := f.last("S2").Detail; !strings.Contains(d, `start "S2": write record`) {
		t.Errorf("detail is %q", d)
	}
	if err := os.Rename(filepath.Join(f.dir, "away"), filepath.Join(f.dir, "process", "instances")); err != nil {
		t.Fatal(err)
	}
}

// The notice of a death may overtake the answer to the start.
func TestAgent_ADeathMayBeReportedBeforeItsStart(t *testing.T) {
	f, rt := newFaulty(t, func(rt *faulty) { rt.late.Store(true) })
	f.board.put(entry(t, life("a", 1), 1, runtimetest.Shell("S1", "exit 4")))
	f.eventually("S1=dead")
	if !rt.overtaken.Load() {
		t.Fatal("the fault did not happen")
	}
	if d := f.last("S1").Detail; !strings.Contains(d, "exit status 4") {
		t.Errorf("detail is %q", d)
	}
}

func TestAgent_SuccessorAdopts(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	one, two := f.last("S1").PID, f.last("S2").PID
	first := f.all()[0].Incarnation
	if err := f.end(context.Canceled); err != nil {
		t.Fatal(err)
	}
	f.air = &air{}
	f.open()
	f.eventually("S1=ready S2=ready")
	if f.last("S1").PID != one || f.last("S2").PID != two {
		t.Fatal("something was started again")
	}
	if f.all()[0].Incarnation == first {
		t.Error("the successor has the incarnation of the first")
	}
	// They served all the time; a first word of "starting" would have cost them their traffic.
	if got := short(f.all()[0]); got != "S1=ready S2=ready" {
		t.Errorf("the successor's first word is %q", got)
	}
}

func TestAgent_IsFenced(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 5), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	pids := f.last("S1").PID + f.last("S2").PID
	check := func(detail string) {
		t.Helper()
		f.detail(detail)
		f.more(1)
		f.eventually("S1=ready S2=ready")
		if f.last("S1").PID+f.last("S2").PID != pids {
			t.Fatalf("%s: something was started again", detail)
		}
	}
	f.assign(life("a", 4), 2)
	check("its term a/4 is older")
	f.board.put(events.Entry{Key: "host-1", Value: []byte(`{"host":`), Version: events.Version{Incarnation: "a", Revision: 3}})
	check("assignment a/3 refused")
	f.board.put(events.Entry{Key: "host-1", Version: events.Version{Incarnation: "a", Revision: 4}}) // deleted
	check("assignment a/3 refused")
	f.assign(life("b", 1), 1) // a wiped bus that knows nobody yet
	check("")
	if err := f.end(context.Canceled); err != nil {
		t.Fatal(err)
	}
	f.open() // the successor has the same memory
	f.assign(life("a", 4), 9)
	check("its term a/4 is older")
	f.assign(life("b", 1), 2, "S1") // the new life names S1, and S2 runs on
	check("")
	f.assign(life("b", 1), 3) // S1 is known in it now
	f.eventually("S2=ready")
}

func TestAgent_StopsEverythingWhenItsSupervisorIsGone(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1", "S2")
	f.eventually("S1=ready S2=ready")
	pid := f.last("S1").PID
	if err := syscall.Kill(f.last("S2").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready S2=dead")
	if err := f.end(lifeline.ErrClosed); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("S1 still runs: %v", err)
	}
	f.air = &air{}
	f.open()
	f.eventually("S1=ready S2=ready") // the same names, from the same assignment
}

func TestAgent_SendsHeartbeatsWhileTheBusIsAway(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	f.cut(true)
	f.assign(life("a", 1), 2, "S1", "S2")
	testkit.Eventually(t, func() error { // it works on
		all, err := f.rt.List(t.Context())
		if err == nil && len(all) != 2 {
			err = fmt.Errorf("%d instances", len(all))
		}
		return err
	})
	f.cut(false)
	f.eventually("S1=ready S2=ready")
}

func TestAgent_RefusesASecondOne(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	second, err := agent.New(config(f.dir), f.rt, f.board, f.hosts, f.air, testkit.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, statedir.ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestAgent_WaitsForItsDiskBeforeItApplies(t *testing.T) {
	f := newFixture(t)
	f.assign(life("a", 1), 1, "S1")
	f.eventually("S1=ready")
	memory := filepath.Join(f.dir, "agent.json")
	if err := os.Remove(memory); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(memory, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.assign(life("a", 2), 2, "S1", "S2")
	f.detail("waits: remember what is obeyed")
	f.eventually("S1=ready")
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	f.eventually("S1=ready S2=ready")
	f.detail("")
}
