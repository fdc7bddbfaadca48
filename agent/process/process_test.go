package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/agent"
	"ringway/agent/lifeline"
	"ringway/events"
	"ringway/internal/proc"
	"ringway/internal/statedir"
	"ringway/internal/testkit"
)

func testConfig(t *testing.T) Config {
	cfg := DefaultConfig()
	cfg.Dir, cfg.Host = t.TempDir(), "host-1"
	return cfg
}

func open(t *testing.T, cfg Config, line *lifeline.Line) *Runtime {
	t.Helper()
	r, err := Open(t.Context(), cfg, line, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs r until the returned function is called.
func run(t *testing.T, r *Runtime) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, func(agent.Instance) {}) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func spec(name string, command ...string) events.InstanceSpec {
	return events.InstanceSpec{Name: name, Service: "web", ID: 4, Health: "/heartbeat", Grace: events.Duration(time.Second), Command: command}
}

func gone(pid int) func() error {
	return func() error {
		if p, err := proc.Read(pid); err == nil && !p.Dead {
			return fmt.Errorf("process %d runs", pid)
		}
		return nil
	}
}

func list(t *testing.T, r *Runtime) []agent.Instance {
	t.Helper()
	all, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// An agent that is killed between fork and record has written the intent and
// started the process, no more.
func TestOpen_FindsAnInstanceWhoseAgentDiedBetweenForkAndRecord(t *testing.T) {
	cfg := testConfig(t)
	first := open(t, cfg, nil)
	c, err := first.reserve(spec("S1"), events.Token{Incarnation: "a", Revision: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.write(c.record); err != nil {
		t.Fatal(err)
	}
	cmd, err := first.fork(c.record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	never, err := first.reserve(spec("S2"), events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.write(never.record); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := open(t, cfg, nil)
	defer run(t, second)()
	all := list(t, second)
	if len(all) != 1 || all[0].PID != cmd.Process.Pid || !all[0].Running || all[0].Token.Revision != 1 || all[0].Spec.ID != 4 {
		t.Fatalf("got %+v", all)
	}
	if _, err := os.Stat(second.recordPath("S2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the intent without a process is still there: %v", err)
	}
	// And it is watched like any other.
	if err := second.Stop(t.Context(), "S1", 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_AdoptsAnInstanceWithoutARecord(t *testing.T) {
	cfg := testConfig(t)
	first := open(t, cfg, nil)
	in, err := first.Start(t.Context(), spec("S1"), events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// Rubbish is as good as none.
	if err := os.WriteFile(first.recordPath("S1"), []byte(`{"spec":`), 0o644); err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg, nil)
	defer run(t, second)()
	all := list(t, second)
	if len(all) != 1 || all[0].PID != in.PID || all[0].Address != in.Address || all[0].Spec.ID != 4 || all[0].Spec.Service != "web" {
		t.Fatalf("got %+v", all)
	}
	if err := second.Stop(t.Context(), "S1", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, gone(in.PID))
}

// Of a shard server the environment tells what the agent has to know of it.
func TestOpen_AdoptsAShardServerWithoutARecord(t *testing.T) {
	cfg := testConfig(t)
	first := open(t, cfg, nil)
	s := events.InstanceSpec{Name: "D1", Service: "StudT", ID: 2, Kind: events.KindShard, Volume: "v1", Health: "/heartbeat", Grace: events.Duration(45 * time.Second)}
	in, err := first.Start(t.Context(), s, events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Close(), os.Remove(first.recordPath("D1"))); err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg, nil)
	defer run(t, second)()
	all := list(t, second)
	if len(all) != 1 || all[0].PID != in.PID || !reflect.DeepEqual(all[0].Spec, s) {
		t.Fatalf("got %+v", all)
	}
	if err := second.Stop(t.Context(), "D1", 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// A record may name a pid that belongs to somebody else by now.
func TestOpen_ARecycledPIDIsNobodyOfOurs(t *testing.T) {
	stranger := exec.Command("sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = stranger.Wait(); close(ended) }()
	defer func() { _ = stranger.Process.Kill(); <-ended }()
	p, err := proc.Read(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, change func(*record)) {
		t.Helper()
		cfg := testConfig(t)
		r := open(t, cfg, nil)
		rec := newRecord(cfg, spec("S1"), events.Token{}, 20000, r.boot)
		rec.PID, rec.Ticks = p.PID, p.Ticks
		change(&rec)
		if err := r.write(rec); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = open(t, cfg, nil)
		stop := run(t, r)
		if all := list(t, r); len(all) != 1 || all[0].Running {
			t.Errorf("%s: got %+v", name, all)
		}
		if err := errors.Join(r.Stop(t.Context(), "S1", 0), r.Forget(t.Context(), "S1")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stop()
		select {
		case <-ended:
			t.Fatalf("%s: the stranger was killed", name)
		default:
		}
	}
	f("everything but the mark agrees", func(*record) {})
	f("start time differs", func(rec *record) { rec.Ticks++ })
	f("another boot", func(rec *record) { rec.Boot = "other" })
}

// Nor is one of ours taken for it that another life of the pid has marked.
func TestOpen_EveryPartOfTheIdentityCounts(t *testing.T) {
	f := func(name string, change func(*record)) {
		t.Helper()
		cfg := testConfig(t)
		r := open(t, cfg, nil)
		in, err := r.Start(t.Context(), spec("S1"), events.Token{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(in.PID, syscall.SIGKILL); _, _ = syscall.Wait4(in.PID, nil, 0, nil) }()
		rec := r.children["S1"].record
		change(&rec)
		if err := r.write(rec); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = open(t, cfg, nil)
		if all := list(t, r); len(all) != 1 || all[0].Running {
			t.Errorf("%s: got %+v", name, all)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f("start time", func(rec *record) { rec.Ticks++ })
	f("boot", func(rec *record) { rec.Boot = "other" })
	f("pid", func(rec *record) { rec.PID++ })
}

func TestOpen_RefusesASecondRuntime(t *testing.T) {
	cfg := testConfig(t)
	r := open(t, cfg, nil)
	defer r.Close()
	_, err := Open(t.Context(), cfg, nil, slog.Default())
	if !errors.Is(err, statedir.ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("got %v", err)
	}
}

func TestStart_ReportsThatTheDirectoryCannotBeWritten(t *testing.T) {
	cfg := testConfig(t)
	r := open(t, cfg, nil)
	defer run(t, r)()
	if err := os.Rename(filepath.Join(cfg.Dir, "instances"), filepath.Join(cfg.Dir, "away")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), spec("S1"), events.Token{}); err == nil || !strings.Contains(err.Error(), `start "S1": write record`) {
		t.Fatalf("got %v", err)
	}
	if all := list(t, r); len(all) != 0 {
		t.Fatalf("listed: %+v", all)
	}
	if err := os.Rename(filepath.Join(cfg.Dir, "away"), filepath.Join(cfg.Dir, "instances")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context(), spec("S1"), events.Token{}); err != nil {
		t.Fatalf("the name is not free again: %v", err)
	}
	if err := r.Stop(t.Context(), "S1", 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestStart_WarnsOnceOfLimitsThatProcessesDoNotHave(t *testing.T) {
	cfg := testConfig(t)
	var said testkit.Buffer
	r, err := Open(t.Context(), cfg, nil, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, r)()
	for i, limits := range []events.Limits{{}, {Memory: 64 << 20}, {Memory: 64 << 20}} {
		s := spec(fmt.Sprint("S", i))
		s.Limits = limits
		if _, err := r.Start(t.Context(), s, events.Token{}); err != nil {
			t.Fatal(err)
		}
		testkit.Must(t, r.Stop(t.Context(), s.Name, 5*time.Second))
		if got := strings.Count(said.String(), "limits do not hold"); got != min(i, 1) {
			t.Errorf("after %d starts it was told %d times: %s", i+1, got, said.String())
		}
	}
}

func TestStart_ADeadCommandLeavesNothingBehind(t *testing.T) {
	r := open(t, testConfig(t), nil)
	defer run(t, r)()
	pids := filepath.Join(t.TempDir(), "pids")
	// A grandchild, and one that hides in a session of its own.
	s := spec("S1", "/bin/sh", "-c", `sleep 600 & echo $! >> "$PIDS"; setsid sleep 601 & echo $! >> "$PIDS"; echo done >> "$PIDS"; wait`)
	s.Env = map[string]string{"PIDS": pids}
	in, err := r.Start(t.Context(), s, events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	testkit.Eventually(t, func() error {
		b, _ := os.ReadFile(pids)
		if lines = strings.Fields(string(b)); len(lines) != 3 {
			return fmt.Errorf("got %q", b)
		}
		return nil
	})
	if err := syscall.Kill(in.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[:2] {
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, gone(pid))
	}
	if err := r.Stop(t.Context(), "S1", 0); err != nil {
		t.Fatal(err)
	}
}

func TestStop_AsksAllOfACommandAndGivesThemTheGrace(t *testing.T) {
	r := open(t, testConfig(t), nil)
	defer run(t, r)()
	const app = `sh -c 'trap "sleep 0.3; echo saved; exit 5" TERM; echo up; while :; do sleep 0.05; done'`
	for i, script := range []string{app + "; true", app + " & wait", "exec setsid " + app} {
		name := fmt.Sprint("S", i)
		in, err := r.Start(t.Context(), spec(name, "/bin/sh", "-c", script), events.Token{})
		if err != nil {
			t.Fatal(err)
		}
		said := func(want string) func() error {
			return func() error {
				if b, _ := os.ReadFile(r.logPath(name)); !bytes.Contains(b, []byte(want)) {
					return fmt.Errorf("%s: the log is %q, without %q", script, b, want)
				}
				return nil
			}
		}
		testkit.Eventually(t, said("up"))
		testkit.Must(t, r.Stop(t.Context(), name, time.Minute))
		testkit.Must(t, said("saved")())
		testkit.Must(t, gone(in.PID)())
	}
}

func TestLifeline_EndsInstancesAndCommands(t *testing.T) {
	root, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	var pass exec.Cmd
	root.Attach(&pass)
	dup, err := syscall.Dup(int(pass.ExtraFiles[0].Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(lifeline.Env, strconv.Itoa(dup))
	line, err := lifeline.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()

	r := open(t, testConfig(t), line)
	stop := run(t, r)
	web, err := r.Start(t.Context(), spec("S1"), events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := r.Start(t.Context(), spec("S2", "/bin/sh", "-c", `trap "echo asked; exit 7" TERM; echo up; while :; do sleep 0.05; done`), events.Token{})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error {
		client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + web.Address + "/heartbeat")
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	})
	testkit.Eventually(t, func() error {
		if b, _ := os.ReadFile(r.logPath("S2")); !bytes.Contains(b, []byte("up")) {
			return fmt.Errorf("log is %q", b)
		}
		return nil
	})
	stop() // the runtime is gone: nobody tells them to end
	for _, in := range []agent.Instance{web, held} {
		if err := syscall.Kill(in.PID, 0); err != nil {
			t.Fatalf("%s ended with the runtime: %v", in.Spec.Name, err)
		}
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, gone(web.PID))
	testkit.Eventually(t, gone(held.PID))
	if b, _ := os.ReadFile(r.logPath("S2")); !bytes.Contains(b, []byte("asked")) {
		t.Errorf("the command was not asked to end: %q", b)
	}
	for _, in := range []agent.Instance{web, held} {
		_, _ = syscall.Wait4(in.PID, nil, 0, nil) // nobody else reaps our children now
	}
}

func TestLogs_AreBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxLog = 1000
	r := open(t, cfg, nil)
	defer r.Close()
	if err := os.WriteFile(r.logPath("S1"), bytes.Repeat([]byte("0123456789"), 200), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range keptLogs + 5 {
		if err := os.WriteFile(r.logPath(fmt.Sprintf("old-%d", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.children["S1"] = newChild(record{})
	r.trimLogs()
	if info, err := os.Stat(r.logPath("S1")); err != nil || info.Size() != 0 {
		t.Errorf("got %v, %v", info, err)
	}
	if info, err := os.Stat(r.logPath("S1") + ".old"); err != nil || info.Size() != 500 {
		t.Errorf("got %v, %v", info, err)
	}
	if left, _ := filepath.Glob(r.logPath("*")); len(left) != keptLogs+1 {
		t.Errorf("%d logs are left", len(left))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	good, err := json.Marshal(newRecord(DefaultConfig(), spec("S1"), events.Token{}, 20000, "boot"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"spec":{"name":"S1"},"mark":"m","pid":-5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRecord(b)
		if err == nil && (events.ValidName(rec.Spec.Name) != nil || rec.PID < 0 || rec.PID == 1) {
			t.Fatalf("accepted %+v", rec)
		}
	})
}
