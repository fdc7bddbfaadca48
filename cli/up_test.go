package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/cli/console"
	"ringway/internal/testkit"
)

// session is one `ringway up` in a process of its own.
type session struct {
	t     *testing.T
	cmd   *exec.Cmd
	dir   string
	trace string
	out   *testkit.Buffer
	errs  *testkit.Buffer
	ended chan struct{}
}

// begin starts `up` on the data directory dir/data; env are faults of the
// stand-ins.
func begin(t *testing.T, dir string, env []string, args ...string) *session {
	t.Helper()
	s := &session{t: t, dir: dir, trace: filepath.Join(dir, "trace"), out: &testkit.Buffer{}, errs: &testkit.Buffer{}, ended: make(chan struct{})}
	all := []string{"up", "--data", filepath.Join(dir, "data"), "--admin", "127.0.0.1:0", "--nats", testkit.Address(t)}
	if !slices.Contains(args, "--listen") {
		all = append(all, "--listen", "127.0.0.1:0")
	}
	all = append(all, args...)
	s.cmd = exec.Command("/proc/self/exe", all...)
	s.cmd.Env = append(os.Environ(), append(env, "RINGWAY_CLI_TEST=1", "STAND_TRACE="+s.trace)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.errs
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		s.nothingRuns()
	})
	return s
}

func (s *session) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// ready waits for the line and returns the three addresses.
func (s *session) ready() (public, admin, nats string) {
	s.t.Helper()
	s.wait(func() error {
		line := regexp.MustCompile(`^ready  http (http://\S+)  admin (http://\S+)  nats (nats://\S+)\n$`)
		m := line.FindStringSubmatch(s.out.String())
		if m == nil {
			return errors.New("not ready")
		}
		public, admin, nats = m[1], m[2], m[3]
		return nil
	})
	return public, admin, nats
}

// wait is eventually, and gives up when the session ended.
func (s *session) wait(f func() error) {
	s.t.Helper()
	testkit.Eventually(s.t, func() error {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			s.t.Fatalf("up ended: %v\nstdout: %s\nstderr: %s", err, s.out, s.errs)
		default:
		}
		return fmt.Errorf("%w\nstdout: %s\nstderr: %s", err, s.out, s.errs)
	})
}

// shows waits until stderr has text. What was written there before the ready
// line may be read after it, for each stream is read by a goroutine of its own.
func (s *session) shows(text string) {
	s.t.Helper()
	s.wait(func() error {
		if !strings.Contains(s.errs.String(), text) {
			return fmt.Errorf("%q is not on stderr", text)
		}
		return nil
	})
}

func (s *session) exit(code int, parts ...string) {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(testkit.Patience):
		s.t.Fatalf("up still runs\nstderr: %s", s.errs)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d", got, code)
	}
	for _, p := range parts {
		if !strings.Contains(s.errs.String(), p) {
			s.t.Errorf("stderr does not mention %q", p)
		}
	}
	if s.t.Failed() {
		s.t.Logf("stdout: %s\nstderr: %s", s.out, s.errs)
	}
}

// life is one line of the trace.
type life struct {
	what, role string
	pid        int
	args       string
}

func (s *session) lives(what string) (all []life) {
	b, _ := os.ReadFile(s.trace)
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(f) == 4 && f[0] == what {
			pid, _ := strconv.Atoi(f[2])
			all = append(all, life{f[0], f[1], pid, f[3]})
		}
	}
	return all
}

func (s *session) of(role string) (pids []int) {
	for _, l := range s.lives("start") {
		if l.role == role {
			pids = append(pids, l.pid)
		}
	}
	return pids
}

func (s *session) nothingRuns() {
	s.t.Helper()
	testkit.Eventually(s.t, func() error {
		for _, l := range s.lives("start") {
			if running(l.pid) {
				return fmt.Errorf("%s, process %d, still runs", l.role, l.pid)
			}
		}
		return nil
	})
}

func get(t *testing.T, url string) string {
	t.Helper()
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUp_ServesAndStopsInOrder(t *testing.T) {
	s := begin(t, t.TempDir(), nil, "--hosts", "2")
	public, _, _ := s.ready()
	if got := get(t, public); got != fmt.Sprint(s.of("router")[0]) {
		t.Errorf("process %s answered", got)
	}
	s.signal(os.Interrupt)
	s.exit(console.ExitOK)
	var order []string
	for _, l := range s.lives("stop") {
		if l.role != "server" {
			order = append(order, l.role)
		}
	}
	if want := []string{"router", "controller", "agent", "agent", "bus"}; !slices.Equal(order, want) {
		t.Errorf("stopped %v, want %v", order, want)
	}
	if n := strings.Count(s.out.String(), "\n"); n != 1 {
		t.Errorf("%d lines on stdout: %s", n, s.out)
	}
	s.nothingRuns()
	for _, name := range []string{"bus", "controller", "agent-host-1", "agent-host-2", "router"} {
		if _, err := os.Stat(filepath.Join(s.dir, "data", "logs", name+".log")); err != nil {
			t.Error(err)
		}
	}
}

func TestUp_StartsAgainWhatIsKilled(t *testing.T) {
	s := begin(t, t.TempDir(), nil, "--replicas", "4")
	public, _, nats := s.ready()
	for _, role := range []string{"router", "controller", "agent", "bus"} {
		pid := s.of(role)[0]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if role == "router" {
			s.wait(func() error { // what it was killed with is another matter
				if running(pid) {
					return errors.New("the router still runs")
				}
				return nil
			})
			if got := get(t, public); got == fmt.Sprint(pid) {
				t.Errorf("the dead process %s answered", got)
			}
		}
		s.wait(func() error {
			if pids := s.of(role); len(pids) < 2 || !strings.Contains(s.errs.String(), fmt.Sprintf("(process %d) ended: signal: killed", pid)) {
				return fmt.Errorf("%s was started %d times", role, len(pids))
			}
			return nil
		})
	}
	// The bus is where it was, and knows everybody again.
	s.wait(func() error {
		resp, err := http.Get(strings.Replace(nats, "nats://", "http://", 1) + "/status")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); !bytes.Contains(b, []byte(`"name":"host-1"`)) || !bytes.Contains(b, []byte(`"id":"router-1"`)) {
			return fmt.Errorf("the bus knows %s", b)
		}
		return nil
	})
	// A restarted controller must not undo what was asked for since: it is told
	// the same configuration of the same run.
	starts := slices.DeleteFunc(s.lives("start"), func(l life) bool { return l.role != "controller" })
	for i, l := range starts {
		if l.args != starts[0].args || !strings.Contains(l.args, "--run ") || !strings.Contains(l.args, "--replicas 4") {
			t.Errorf("start %d of the controller: %s", i+1, l.args)
		}
	}
	s.signal(syscall.SIGTERM)
	s.exit(console.ExitOK)
	s.nothingRuns()
	if n := len(s.of("server")); n != 1 {
		t.Errorf("the death of the agent cost an instance: %d were started", n)
	}
}

func TestUp_NothingOutlivesIt(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, nil)
	public, admin, nats := s.ready()
	// An instance that was started by an agent that died hangs on the same line.
	if err := syscall.Kill(s.of("agent")[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.wait(func() error {
		if len(s.of("agent")) < 2 {
			return errors.New("the agent is away")
		}
		return nil
	})
	s.signal(syscall.SIGKILL)
	// The next one, at once, on the same directory and addresses, waits for
	// what the first left behind.
	at := func(url string) string { return url[strings.LastIndex(url, "/")+1:] }
	again := begin(t, dir, nil, "--listen", at(public), "--admin", at(admin), "--nats", at(nats))
	again.ready()
	for _, l := range s.lives("start")[:5] {
		if running(l.pid) {
			t.Errorf("%s, process %d, still runs", l.role, l.pid)
		}
	}
}

func TestUp_SecondInterruptKillsAtOnce(t *testing.T) {
	s := begin(t, t.TempDir(), []string{"STAND_DEAF=router"})
	s.ready()
	s.signal(os.Interrupt)
	s.wait(func() error {
		if len(s.lives("stop")) == 0 {
			return errors.New("the router was not told")
		}
		return nil
	})
	// Until it is old enough to be another ctrl-C.
	s.wait(func() error {
		_ = s.cmd.Process.Signal(os.Interrupt) // fails once it has ended
		if !strings.Contains(s.errs.String(), "killed at once") {
			return errors.New("it goes on waiting")
		}
		return nil
	})
	s.exit(console.ExitInterrupted, "killed")
}

func TestUp_InterruptedWhileItStarts(t *testing.T) {
	s := begin(t, t.TempDir(), []string{"STAND_SILENT=router"})
	s.shows("replicas 5/5  router …")
	s.signal(os.Interrupt)
	s.exit(console.ExitInterrupted, "interrupted")
}

func TestUp_GivesUpWhatCannotStart(t *testing.T) {
	t.Parallel() // it mostly waits
	f := func(fault, role string, parts ...string) {
		t.Helper()
		s := begin(t, t.TempDir(), []string{fault + "=" + role}, "--start-timeout", "29s")
		s.exit(console.ExitFailed, append(parts, "start failed", filepath.Join("logs", role))...)
		if s.out.String() != "" {
			t.Errorf("stdout: %s", s.out)
		}
	}
	f("STAND_FAIL", "controller", "controller", "exit code 1", "no luck today")
	f("STAND_FAIL", "bus", "bus", "no luck today")
}

func TestUp_StopsEverythingWhenItsTimeIsUp(t *testing.T) {
	t.Parallel() // it mostly waits
	s := begin(t, t.TempDir(), []string{"STAND_SILENT=router"}, "--start-timeout", "1s")
	s.exit(console.ExitFailed, "start failed", "within 1s")
	s.nothingRuns()
}

func TestUp_RefusesBeforeItTouchesAnything(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "ringway.yaml")
	if err := os.WriteFile(config, []byte("services:\n  web:\n    replicsa: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		data := filepath.Join(dir, "data")
		code, out, errs := run(t, Wiring{}, append([]string{"up", "--data", data}, args...)...)
		if code != console.ExitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, stdout %q, stderr %q; want %q", args, code, out, errs, want)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%v: the data directory was made", args)
		}
	}
	f(config+`:3:5: unknown key "replicsa"; did you mean "replicas"?`, "--config", config)
	f("no such file", "--config", filepath.Join(dir, "none.yaml"))
	f("no such file", "--table", filepath.Join(dir, "none.yaml"))
	f(config+`:1:1: unknown key "services"`, "--table", config)
	f("--replicas: -1 is too few", "--replicas", "-1")
	f("--replicas: 57 is too many; 512 slots of algorithm course hold at most 56", "--replicas", "57", "--algorithm", "course")
	f(`--algorithm: "maglev" is unknown`, "--algorithm", "maglev")
	f("--hosts 0", "--hosts", "0")
	f(`--listen "5000"`, "--listen", "5000")
	f(`--nats "127.0.0.1:99999"`, "--nats", "127.0.0.1:99999")
	f("unknown flag: --replica", "--replica", "3")
	f("--log-level", "--log-level", "loud")
}

func TestUp_AddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"--listen", "--admin", "--nats"} {
		args := map[string]string{"--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0", "--nats": "127.0.0.1:0"}
		args[flag] = l.Addr().String()
		line := []string{"up", "--data", t.TempDir()}
		for k, v := range args {
			line = append(line, k, v)
		}
		code, out, errs := run(t, Wiring{}, line...)
		if code != console.ExitFailed || out != "" || !strings.Contains(errs, l.Addr().String()+" is in use") || !strings.Contains(errs, flag+" HOST:PORT") {
			t.Errorf("%s: code %d, stdout %q, stderr %q", flag, code, out, errs)
		}
	}
}

// Between our look at the address and our bus another program may take it.
func TestUp_RunsNothingOnAnotherBus(t *testing.T) {
	s := begin(t, t.TempDir(), []string{"STAND_OTHER_BUS=ringway-bus-of-others"})
	s.exit(console.ExitFailed, `another bus, "ringway-bus-of-others", answers at 127.0.0.1:`, "--nats")
	for _, l := range s.lives("start") {
		if l.role != "bus" {
			t.Errorf("%s ran on it", l.role)
		}
	}
	s.nothingRuns()
}

func TestUp_DataDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, nil)
	s.ready()
	second := begin(t, dir, nil)
	second.exit(console.ExitFailed, "in use", fmt.Sprint("process ", s.cmd.Process.Pid), "--data")
	s.signal(os.Interrupt)
	s.exit(console.ExitOK)
}
