package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringway/events"
)

// start runs one more role beside those of the cluster until the test ends.
func (c *cluster) start(args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := ringway(c.id, append(args, "--nats", c.nats)...)
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // before nothingLeft looks
	return cmd
}

// A leader that was stopped and wakes up after another has taken over must not
// publish again: its heartbeat and its answers are outdated.
func TestUp_SuspendedLeaderDoesNotPublishAfterItsTerm(t *testing.T) {
	t.Parallel()
	c := up(t)
	pids := map[string]int{"controller-1": c.role("controller")}
	pids["controller-2"] = c.start("controller", "--id", "controller-2").Process.Pid

	var mu sync.Mutex
	var last events.ControllerHeartbeat
	var wrong []string
	heartbeats := 0
	stop, err := c.dial().Listen(events.HeartbeatController, func(_ string, data []byte) {
		b, err := events.DecodeControllerHeartbeat(data)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		heartbeats++
		if last.Term.After(b.Term) {
			wrong = append(wrong, fmt.Sprintf("%s published in term %d after %s in term %d", b.Controller, b.Term.Revision, last.Controller, last.Term.Revision))
			return
		}
		last = b
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	latest := func() (events.ControllerHeartbeat, int) {
		mu.Lock()
		defer mu.Unlock()
		return last, heartbeats
	}

	for range 2 {
		eventually(t, 10*time.Second, func() error {
			if b, _ := latest(); pids[b.Controller] == 0 {
				return fmt.Errorf("leader %q", b.Controller)
			}
			return nil
		})
		old, _ := latest()
		c.kill(pids[old.Controller], syscall.SIGSTOP)
		eventually(t, 20*time.Second, func() error {
			if b, _ := latest(); b.Controller == old.Controller {
				return fmt.Errorf("%s leads still", b.Controller)
			}
			return nil
		})
		c.kill(pids[old.Controller], syscall.SIGCONT)
		_, at := latest()
		eventually(t, 10*time.Second, func() error {
			if _, n := latest(); n < at+3 {
				return fmt.Errorf("%d heartbeats", n-at)
			}
			return nil
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, w := range wrong {
		t.Error(w)
	}
}

// A stream of the bus whose disk was full for a moment refuses every write from
// then on. The bus has to start again, or nobody ever leads.
func TestUp_RecoversFromAFullDiskOfTheBus(t *testing.T) {
	t.Parallel()
	c := up(t)
	before := c.serving()
	l := startLoad(c.http+"/home", 5, 20*time.Millisecond)
	full := c.role("bus")
	limit := unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY} // as if it were: no file can grow
	if err := unix.Prlimit(full, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		if now := c.findRole("bus"); now == full || now == 0 {
			return fmt.Errorf("bus is process %d still", now)
		}
		code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1}`)
		if err != nil || code != 200 {
			return fmt.Errorf("/add: %d %s %v", code, body, err)
		}
		return nil
	})
	after := map[int]bool{}
	for _, i := range c.serving() {
		after[i.PID] = true
	}
	for _, i := range before {
		if !after[i.PID] {
			t.Errorf("%s (pid %d) did not live through it", i.Name, i.PID)
		}
	}
	l.end(t)
}

// Of a command that cannot run the error is printed, not what the agent did
// while everything was stopped for it.
func TestUp_SaysWhyReplicasDoNotStart(t *testing.T) {
	t.Parallel()
	f := func(command, want string) {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "ringway.yaml")
			if err := os.WriteFile(file, []byte("services:\n  web:\n    command: ["+command+"]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := ringway(t.Name(), "up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0",
				"--data", t.TempDir(), "--config", file, "--start-timeout", "15s")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Fatalf("%v, %s; want %q in it", err, out, want)
			}
		})
	}
	f("/does/not/exist", "no such file")
	f("/bin/false", "is dead: ")
	f(`/bin/sleep, "1000"`, "connection refused")
}
