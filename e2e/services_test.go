package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestUp_ServesHomeFromThreeReplicas(t *testing.T) {
	t.Parallel()
	c := up(t)
	l := startLoad(c.http+"/home", 8, 0)
	eventually(t, 20*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.byServer) != 3 || l.good.Load() < 1000 {
			return fmt.Errorf("%d servers answered %d requests", len(l.byServer), l.good.Load())
		}
		return nil
	})
	l.end(t)

	names, err := c.rep()
	if err != nil || len(names) != 3 {
		t.Fatalf("/rep: %v %v", names, err)
	}
	for _, i := range c.serving() {
		if i.Name == "" || i.Service != "web" || i.Host != "host-1" || i.State != events.Ready || i.Address == "" || i.PID == 0 {
			t.Errorf("ps: %+v", i)
		}
	}
}

func TestUp_KillingReplicasFailsNoRequestAndEachIsReplaced(t *testing.T) {
	c := up(t)
	l := startLoad(c.http+"/home", 100, 20*time.Millisecond)
	killedReplicas(c, rounds(5, 200))
	eventually(t, time.Minute, func() error {
		if l.good.Load() < 10000 {
			return fmt.Errorf("%d requests", l.good.Load())
		}
		return nil
	})
	l.end(t)
}

func TestUp_SuspendedAgentIsReplacedAndComesBack(t *testing.T) {
	c := up(t, "--hosts", "3")
	spread := map[string]string{}
	for _, i := range c.serving() {
		spread[i.Host] = i.Name
	}
	if len(spread) != 3 {
		t.Fatalf("three replicas stand on %d hosts: %v", len(spread), spread)
	}
	l := startLoad(c.http+"/home", 20, 10*time.Millisecond)
	pausedAgent(c, "host-2", 2*time.Second, 10*time.Second)
	l.end(t)
}

func TestUp_RoutingGoesOnWithoutControllerAndBus(t *testing.T) {
	t.Parallel()
	f := func(role string) {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			c := up(t)
			before, err := c.rep()
			if err != nil {
				t.Fatal(err)
			}
			l := startLoad(c.http+"/home", 20, 10*time.Millisecond)
			// Suspended rather than killed: it stays away for as long as the test likes.
			pid := c.role(role)
			c.kill(pid, syscall.SIGSTOP)
			code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1,"hostnames":["S9"]}`)
			if err != nil {
				t.Fatal(err)
			}
			var statusErr struct{ Message, Status string }
			if json.Unmarshal([]byte(body), &statusErr) != nil || statusErr.Status != "failure" || code < 500 {
				t.Errorf("/add without %s: %d %s, want a clear error", role, code, body)
			}
			t.Logf("/add while the %s was away: %d %s", role, code, body)
			if names, err := c.rep(); err != nil || !slices.Equal(names, before) {
				t.Errorf("members went from %v to %v (%v)", before, names, err)
			}
			c.kill(pid, syscall.SIGKILL)
			eventually(t, 30*time.Second, func() error {
				if code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1}`); err != nil || code != 200 {
					return fmt.Errorf("%d %s %v", code, body, err)
				}
				return nil
			})
			if names, err := c.rep(); err != nil || len(names) < 4 {
				t.Errorf("after an /add: %v %v", names, err)
			}
			for _, name := range before {
				if names, _ := c.rep(); !slices.Contains(names, name) {
					t.Errorf("replica %s did not live through the loss of the %s", name, role)
				}
			}
			l.end(t)
		})
	}
	f("controller")
	f("bus")
}

func TestUp_RouterThatIsRestartedWithoutABusServesTheLastRoutes(t *testing.T) {
	t.Parallel()
	c := up(t)
	c.kill(c.role("bus"), syscall.SIGSTOP)
	old := c.role("router")
	c.kill(old, syscall.SIGKILL)
	took := eventually(t, 20*time.Second, func() error {
		if now := c.findRole("router"); now == 0 || now == old {
			return fmt.Errorf("router is process %d", now)
		}
		if code, body, err := call(http.MethodGet, c.http+"/home", ""); err != nil || code != 200 {
			return fmt.Errorf("%d %s %w", code, body, err)
		}
		return nil
	})
	t.Logf("served again after %s", took.Round(time.Millisecond))
	c.kill(c.role("bus"), syscall.SIGCONT)
}

func TestUp_KilledRolesComeBackAndInstancesLiveOn(t *testing.T) {
	t.Parallel()
	crashedRoles(up(t, "--hosts", "2"), "host-1", "controller", "bus", "host-2", "router")
}

// Whoever comes while a killed router is restarted waits at the socket.
func TestUp_UnixSocketRefusesNobodyWhileItsRouterIsRestarted(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "unix-") // that of the test may be too long for a socket
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	c := up(t, "--listen", "unix:"+path)
	if code, body, err := call(http.MethodGet, c.http+"/home", ""); err != nil || code != 200 {
		t.Fatalf("at the port: %d %s %v", code, body, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clients sync.WaitGroup
	var good atomic.Int64
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				nc, err := net.Dial("unix", path)
				if err != nil {
					t.Errorf("refused: %v", err)
					return
				}
				_, _ = io.WriteString(nc, "GET /home HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
				if b, _ := io.ReadAll(nc); bytes.HasPrefix(b, []byte("HTTP/1.1 200")) { // else it was open at a router that was killed
					good.Add(1)
				}
				_ = nc.Close()
			}
		})
	}
	for range 3 {
		old, before := c.role("router"), good.Load()
		c.kill(old, syscall.SIGKILL)
		eventually(t, 20*time.Second, func() error {
			if now := c.findRole("router"); now == 0 || now == old || good.Load() < before+100 {
				return fmt.Errorf("router %d, %d answers", now, good.Load()-before)
			}
			return nil
		})
	}
	cancel()
	clients.Wait()
	c.stop()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestUp_CourseSharesOverHTTP(t *testing.T) {
	t.Parallel()
	c := up(t, "--algorithm", "course")
	ids := map[string]int{}
	for _, i := range c.serving() {
		ids[i.Name] = i.ID
	}
	l := startLoad(c.http+"/home", 50, 0)
	eventually(t, time.Minute, func() error {
		if l.good.Load() < 10000 {
			return fmt.Errorf("%d requests", l.good.Load())
		}
		return nil
	})
	l.end(t)
	total := 0
	shares := map[int]float64{}
	for _, n := range l.byServer {
		total += n
	}
	for name, n := range l.byServer {
		shares[ids[name]] = 100 * float64(n) / float64(total)
	}
	// What the course's functions give; four standard deviations of a sample of 10,000.
	for id, want := range map[int]float64{1: 84.37, 2: 4.69, 3: 10.94} {
		limit := 4 * math.Sqrt(want*(100-want)/float64(total))
		if math.Abs(shares[id]-want) > limit {
			t.Errorf("server %d got %.2f %% of %d requests, want %.2f ± %.2f", id, shares[id], total, want, limit)
		}
	}
	t.Logf("shares of %d requests: %.2f / %.2f / %.2f", total, shares[1], shares[2], shares[3])
}

func TestUp_CourseAPI(t *testing.T) {
	t.Parallel()
	c := up(t)
	f := func(method, path, body string, wantCode int, want string) string {
		t.Helper()
		code, got, err := call(method, c.http+path, body)
		if err != nil || code != wantCode || !strings.Contains(got, want) {
			t.Errorf("%s %s %s: %d %s %v, want %d with %s", method, path, body, code, got, err, wantCode, want)
		}
		return got
	}
	members := func() []string {
		t.Helper()
		names, err := c.rep()
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	before := members()
	for _, bad := range []struct{ method, path, body, message string }{
		{"POST", "/add", `{"n":1,"hostnames":["S1","S2"]}`, `<Error> Length of hostname list is more than newly added instances`},
		{"DELETE", "/rm", `{"n":1,"hostnames":["S1","S2"]}`, `<Error> Length of hostname list is more than removable instances`},
		{"GET", "/other", ``, `<Error> '/other' endpoint does not exist in server replicas`},
		{"POST", "/add", `nonsense`, `<Error> `},
		{"POST", "/add", `{}`, `n`},
		{"POST", "/add", `{"n":0}`, `n`},
		{"POST", "/add", `{"n":-3}`, `n`},
		{"POST", "/add", `{"n":2,"hostnames":["S1","S1"]}`, `S1`},
		{"POST", "/add", `{"n":1,"hostnames":["` + before[0] + `"]}`, before[0]},
		{"POST", "/add", `{"n":1,"hostnames":["not a name"]}`, `not a name`},
		{"POST", "/add", `{"n":1000000}`, `slot`},
		{"DELETE", "/rm", `{"n":4}`, `n`},
		{"DELETE", "/rm", `{"n":1,"hostnames":["S77"]}`, `S77`},
		{"DELETE", "/rm", `{"n":"two"}`, `n`},
	} {
		got := f(bad.method, bad.path, bad.body, 400, `"failure"`)
		var m struct{ Message string }
		if err := json.Unmarshal([]byte(got), &m); err != nil || !strings.Contains(m.Message, bad.message) {
			t.Errorf("%s %s %s: message %q, want %q in it", bad.method, bad.path, bad.body, m.Message, bad.message)
		}
	}
	if now := members(); !slices.Equal(before, now) {
		t.Fatalf("bad requests changed the members from %v to %v", before, now)
	}

	f("POST", "/add", `{"n":4,"hostnames":["S5","S4","S10","S11"]}`, 200, `"N":7`)
	now := members()
	for _, name := range []string{"S5", "S4", "S10", "S11"} {
		if !slices.Contains(now, name) {
			t.Errorf("%s is not among %v right after /add", name, now)
		}
	}
	l := startLoad(c.http+"/home", 10, 0)
	f("DELETE", "/rm", `{"n":3,"hostnames":["S5","S4"]}`, 200, `"N":4`)
	now = members()
	if len(now) != 4 || slices.Contains(now, "S5") || slices.Contains(now, "S4") {
		t.Errorf("after /rm: %v", now)
	}
	l.end(t)
	f("POST", "/add", `{"n":2}`, 200, `"N":6`)
	f("GET", "/home", ``, 200, `Hello from Server: `)
	f("GET", "/heartbeat", ``, 200, ``)

	f("DELETE", "/rm", `{"n":6}`, 200, `"N":0`)
	resp, err := client.Get(c.http + "/home")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without replicas: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

func TestUp_StateSurvivesARestart(t *testing.T) {
	t.Parallel()
	restartKeepsReplicas(up(t))
}

func TestUp_NothingOutlivesAKilledUp(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c := upIn(t, data)
	c.kill(c.cmd.Process.Pid, syscall.SIGKILL)
	<-c.ended
	c.nothingLeft()
	upIn(t, data) // and its data can be used again
}

func TestUp_RefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	c := up(t)
	f := func(want string, args ...string) {
		t.Helper()
		cmd := ringway(c.id+"-bad", append([]string{"up"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "goroutine ") {
			t.Errorf("up %v: %v, %s; want %q", args, err, out, want)
		}
	}
	taken := strings.TrimPrefix(c.http, "http://")
	f(taken, "--listen", taken, "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--data", t.TempDir())
	f("--nats", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", strings.TrimPrefix(c.nats, "nats://"), "--data", t.TempDir())
	f("in use", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--data", c.data)
	f("algorithm", "--algorithm", "ketama", "--data", t.TempDir())
	f("replicas", "--replicas", "-1", "--data", t.TempDir())
}
