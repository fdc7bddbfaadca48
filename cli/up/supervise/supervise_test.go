package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/agent/lifeline"
	"ringway/cli/listen"
	"ringway/internal/testkit"
)

// The test binary plays the children; the role is its first argument.
func TestMain(m *testing.M) {
	if os.Getenv("SUPERVISE_TEST") == "" {
		_ = os.Setenv("SUPERVISE_TEST", "1") // for the children; a name that can be set
		goleak.VerifyTestMain(m)
		return
	}
	line, err := lifeline.FromEnv()
	if err != nil {
		panic(err)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("hello from", strings.Join(os.Args[1:], " "))
	switch os.Args[1] {
	case "polite":
		select {
		case <-term:
			os.Exit(0)
		case <-line.Closed():
			os.Exit(7)
		}
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("deaf now")
		select {}
	case "broken":
		os.Exit(3)
	case "http":
		l, err := listen.Inherited(FirstFile)
		if err != nil {
			panic(err)
		}
		panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })))
	}
}

// watched is a child and what it reported.
type watched struct {
	*Child
	mu      sync.Mutex
	reports []Report
}

func start(t *testing.T, spec Spec) (*watched, context.CancelFunc, <-chan struct{}) {
	t.Helper()
	if spec.Path == "" {
		spec.Path = "/proc/self/exe"
	}
	if spec.Log == "" {
		spec.Log = filepath.Join(t.TempDir(), "log")
	}
	if spec.StopTimeout == 0 {
		spec.StopTimeout = 20 * time.Second
	}
	spec.Name = "child"
	w := &watched{}
	back := Backoff{First: time.Millisecond, Max: 5 * time.Millisecond, Healthy: time.Hour}
	c, err := New(spec, back, func(r Report) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reports = append(w.reports, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Child = c
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { c.Kill(); <-done })
	return w, cancel, done
}

func (w *watched) all() []Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Report(nil), w.reports...)
}

// said waits until the log of the child holds text.
func (w *watched) logged(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, func() error {
		b, _ := os.ReadFile(w.Log())
		if !strings.Contains(string(b), text) {
			return fmt.Errorf("the log says %q, want %q", b, text)
		}
		return nil
	})
}

// running waits until a process other than the one of before runs: what it
// writes to its log may be there before its pid is known.
func (w *watched) running(t *testing.T, before int) (pid int) {
	t.Helper()
	testkit.Eventually(t, func() error {
		if pid = w.PID(); pid == 0 || pid == before {
			return fmt.Errorf("pid %d after %d", pid, before)
		}
		return nil
	})
	return pid
}

func args(a ...string) func() []string { return func() []string { return a } }

func ends(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(testkit.Patience):
		t.Fatal("the child still runs")
	}
}

func TestChild_IsStartedAgainWithWhatItsArgumentsAreThen(t *testing.T) {
	var mu sync.Mutex
	n := 0
	w, _, _ := start(t, Spec{Args: func() []string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return []string{"polite", fmt.Sprint("life-", n)}
	}})
	w.logged(t, "life-1")
	first := w.running(t, 0)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.logged(t, "life-2")
	w.running(t, first)
	died := w.all()[1]
	if died.What != Died || died.PID != first || died.Next != 0 || DescribeExit(died.Err) != "signal: killed" {
		t.Fatalf("reported %+v", died)
	}
}

func TestChild_StopsByTheMeansItWasPromised(t *testing.T) {
	f := func(cut bool, code string) {
		t.Helper()
		w, stop, done := start(t, Spec{Args: args("polite"), ByLifeline: cut})
		w.logged(t, "hello")
		stop()
		ends(t, done)
		all := w.all()
		if last := all[len(all)-1]; last.What != Stopped || DescribeExit(last.Err) != code {
			t.Fatalf("cut %v: reported %s, %s; want %s, %s", cut, last.What, DescribeExit(last.Err), Stopped, code)
		}
	}
	f(false, "exit code 0")
	f(true, "exit code 7")
}

func TestChild_ThatDoesNotStopIsKilledAfterItsPatience(t *testing.T) {
	w, stop, done := start(t, Spec{Args: args("deaf"), StopTimeout: 20 * time.Millisecond})
	w.logged(t, "deaf now")
	stop()
	ends(t, done)
	all := w.all()
	if last := all[len(all)-1]; last.What != Killed {
		t.Fatalf("reported %+v", last)
	}
}

func TestChild_KillDoesNotWaitForPatience(t *testing.T) {
	w, stop, done := start(t, Spec{Args: args("deaf"), StopTimeout: time.Hour})
	w.logged(t, "deaf now")
	stop()
	w.Kill()
	ends(t, done)
}

func TestChild_ThatCannotRunIsTriedWithBackoff(t *testing.T) {
	f := func(spec Spec, want string) {
		t.Helper()
		w, _, _ := start(t, spec)
		testkit.Eventually(t, func() error {
			var waits []time.Duration
			for _, r := range w.all() {
				if r.What == want {
					waits = append(waits, r.Next)
				}
			}
			if len(waits) < 6 {
				return fmt.Errorf("reported %+v", w.all())
			}
			for i, ms := range []time.Duration{0, 1, 2, 4, 5, 5} {
				if waits[i] != ms*time.Millisecond {
					return fmt.Errorf("waits %v", waits)
				}
			}
			return nil
		})
	}
	f(Spec{Args: args("broken")}, Died)
	f(Spec{Args: args("polite"), Path: "/no/such/program"}, Failed)
}

func TestChild_RunsWithoutItsLog(t *testing.T) {
	w, _, _ := start(t, Spec{Args: args("polite"), Log: "/no/such/dir/log"})
	w.running(t, 0)
}

func TestListen_NobodyIsRefusedWhileTheChildIsDown(t *testing.T) {
	l, err := listen.Open("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Address()
	file, err := l.Pass() // the child's from now on
	if err != nil {
		t.Fatal(err)
	}
	w, _, _ := start(t, Spec{Args: args("http"), Sockets: []*os.File{file}})
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() {
		t.Helper()
		resp, err := client.Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	w.logged(t, "hello")
	get()
	for range 3 {
		pid := w.running(t, 0)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, func() error { // a request that it took with it is another matter
			if w.PID() == pid {
				return errors.New("it still runs")
			}
			return nil
		})
		get()
	}
}

func TestListenUnix_NobodyIsRefusedWhileTheChildIsDown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := listen.Open("unix:"+path, "--listen")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	file, err := s.Pass() // the child's from now on
	testkit.Must(t, err)
	w, _, _ := start(t, Spec{Args: args("http"), Sockets: []*os.File{file}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	get := func() {
		t.Helper()
		resp, err := client.Get("http://ringway")
		testkit.Must(t, err)
		resp.Body.Close()
	}
	w.logged(t, "hello")
	get()
	for range 3 {
		pid := w.running(t, 0)
		testkit.Must(t, syscall.Kill(pid, syscall.SIGKILL))
		testkit.Eventually(t, func() error {
			if w.PID() == pid {
				return fmt.Errorf("it still runs")
			}
			return nil
		})
		get()
	}
	testkit.Must(t, s.Remove())
	left, err := os.ReadDir(filepath.Dir(path))
	testkit.Must(t, err)
	if len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestBackoff(t *testing.T) {
	b := DefaultBackoff()
	for fails, want := range []string{"0s", "100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s", "5s", "5s"} {
		if got := b.Wait(fails).String(); got != want {
			t.Errorf("after %d: %s, want %s", fails, got, want)
		}
	}
	if got := b.Wait(1 << 30); got != b.Max {
		t.Errorf("after very many: %s", got)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not mention %q", err, p)
		}
	}
}
