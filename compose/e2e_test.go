package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// e2e is a whole cluster on containers of the real engine, with a name of its
// own. Nothing of it is left at the end.
type e2e struct {
	*stack
	t      *testing.T
	out    *testkit.Buffer
	client *http.Client
}

func newE2E(t *testing.T) *e2e {
	t.Helper()
	tools := detectTools(t.Context())
	if tools.missing != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(tools.missing)
		}
		t.Skip(tools.missing)
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(root, tools)
	s.cluster = "rwtest-" + strings.ToLower(rand.Text()[:8])
	s.image, s.shardImage = s.cluster+":test", s.cluster+"-shard:test"
	s.http, s.admin, s.nats = freePort(t), freePort(t), freePort(t)
	e := &e2e{stack: s, t: t, out: &testkit.Buffer{}, client: &http.Client{Timeout: 30 * time.Second}}
	s.out, s.err = e.out, e.out
	t.Cleanup(e.clean)
	return e
}

func (e *e2e) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if e.t.Failed() {
		e.t.Logf("up said:\n%s", e.out)
		logs, _ := e.composeCommand(ctx, "logs", "--no-color", "--tail", "40").CombinedOutput()
		e.t.Logf("%s", logs)
	}
	if err := e.down(ctx, true); err != nil {
		e.t.Error(err)
	}
	for _, image := range []string{e.shardImage, e.image} {
		if _, err := output(ctx, "docker", "image", "rm", "-f", image); err != nil {
			e.t.Error(err)
		}
	}
	for _, list := range [][]string{{"ps", "-aq", "--filter", "name=" + e.cluster}, {"network", "ls", "-q", "--filter", "name=" + e.cluster}, {"volume", "ls", "-q", "--filter", "name=" + e.cluster}} {
		if left, err := output(ctx, "docker", list...); err != nil || left != "" {
			e.t.Errorf("docker %s: %s is left (%v)", strings.Join(list, " "), left, err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testkit.Address(t))
	testkit.Must(t, err)
	return port
}

func (e *e2e) up() {
	e.t.Helper()
	if err := e.stack.up(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *e2e) docker(args ...string) string {
	e.t.Helper()
	out, err := output(e.t.Context(), "docker", args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// role is the container of a role; its name depends on the compose tool.
func (e *e2e) role(name string) string {
	e.t.Helper()
	id := e.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+e.cluster, "--filter", "label=com.docker.compose.service="+name)
	if id == "" || strings.Contains(id, "\n") {
		e.t.Fatalf("container of %s: %q", name, id)
	}
	return id
}

// instance is the container of a replica.
func (e *e2e) instance(name string) string { return e.cluster + "-" + name }

// running are the replicas that run on a host; host "" is any.
func (e *e2e) running(host string) []string {
	e.t.Helper()
	args := []string{"ps", "--filter", "label=io.ringway.cluster=" + e.cluster, "--format", `{{.Label "io.ringway.instance"}}`}
	if host != "" {
		args = append(args, "--filter", "label=io.ringway.host="+host)
	}
	return strings.Fields(e.docker(args...))
}

func (e *e2e) call(method, path, body string) (int, string, error) {
	req, err := http.NewRequest(method, "http://127.0.0.1:"+e.http+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (e *e2e) rep() (names []string, err error) {
	code, body, err := e.call(http.MethodGet, "/rep", "")
	var answer struct{ Message struct{ Replicas []string } }
	if err == nil {
		err = json.Unmarshal([]byte(body), &answer)
	}
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("/rep: %d %s %w", code, body, err)
	}
	return answer.Message.Replicas, nil
}

// eventually polls, and returns how long it took.
func (e *e2e) eventually(d time.Duration, check func() error) time.Duration {
	e.t.Helper()
	begun := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		err := check()
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > d {
			e.t.Fatalf("not within %s: %v", d, err)
		}
	}
}

// without waits until none of gone serves, and then until n others do.
func (e *e2e) without(gone []string, n int) (out, restored time.Duration) {
	e.t.Helper()
	left := func(names []string) bool {
		return slices.ContainsFunc(gone, func(g string) bool { return slices.Contains(names, g) })
	}
	out = e.eventually(40*time.Second, func() error {
		if names, err := e.rep(); err != nil || left(names) {
			return fmt.Errorf("%v serve (%v)", names, err)
		}
		return nil
	})
	restored = out + e.eventually(90*time.Second, func() error {
		if names, err := e.rep(); err != nil || left(names) || len(names) != n {
			return fmt.Errorf("%v serve (%v)", names, err)
		}
		return nil
	})
	return out, restored
}

// onlyWanted waits until exactly what serves runs.
func (e *e2e) onlyWanted() {
	e.t.Helper()
	e.eventually(90*time.Second, func() error {
		names, err := e.rep()
		running := e.running("")
		slices.Sort(names)
		slices.Sort(running)
		if err != nil || !slices.Equal(names, running) {
			return fmt.Errorf("%v serve, %v run (%v)", names, running, err)
		}
		return nil
	})
}

// load is traffic on /home.
type load struct {
	begun  time.Time
	good   atomic.Int64
	mu     sync.Mutex
	bad    []string
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// traffic is how many connections a load has, how long each waits between two
// requests, and how long it lasts at the least.
func traffic() (connections int, pause, least time.Duration) {
	switch {
	case os.Getenv("RINGWAY_LONG") != "":
		return 50, 0, time.Minute
	case full:
		return 50, 0, 10 * time.Second
	}
	return 20, 5 * time.Millisecond, 0
}

func (e *e2e) load() *load {
	connections, pause, _ := traffic()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{begun: time.Now(), cancel: cancel}
	transport := &http.Transport{MaxIdleConnsPerHost: connections}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for range connections {
		l.group.Go(func() {
			for tick := time.NewTicker(max(pause, 1)); ; {
				begun := time.Now()
				resp, err := client.Get("http://127.0.0.1:" + e.http + "/home")
				what := ""
				if err != nil {
					what = err.Error()
				} else {
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil || resp.StatusCode != http.StatusOK {
						what = fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
					}
				}
				if what == "" {
					l.good.Add(1)
				} else {
					l.mu.Lock()
					l.bad = append(l.bad, fmt.Sprintf("%s (after %s)", what, time.Since(begun).Round(time.Millisecond)))
					l.mu.Unlock()
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					tick.Stop()
					return
				}
			}
		})
	}
	return l
}

func (l *load) end(t *testing.T) {
	t.Helper()
	_, _, least := traffic()
	<-time.After(time.Until(l.begun.Add(least)))
	l.cancel()
	l.group.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.bad), l.good.Load()+int64(len(l.bad)), strings.Join(l.bad[:min(3, len(l.bad))], " | "))
	}
	t.Logf("%d requests were answered with 200 in %s", l.good.Load(), time.Since(l.begun).Round(time.Millisecond))
}

// full is `task e2e`; without it only what is quick is waited for.
var full = os.Getenv("RINGWAY_E2E") == "full" || os.Getenv("RINGWAY_LONG") != ""

func TestE2E(t *testing.T) {
	t.Parallel()
	e := newE2E(t)
	begun := time.Now()
	e.up()
	t.Logf("ready after %s", time.Since(begun).Round(100*time.Millisecond))
	if !strings.Contains(e.out.String(), "\nready  http http://127.0.0.1:"+e.http+"  admin ") {
		t.Errorf("up said %q", e.out)
	}
	step := func(name string, f func(*testing.T, *e2e)) {
		t.Run(name, func(t *testing.T) {
			part := *e
			part.t = t
			f(t, &part)
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	step("SpeaksTheCourseAPI", speaksTheCourseAPI)
	step("IsRestricted", isRestricted)
	step("UpIsIdempotent", upIsIdempotent)
	step("KilledReplica", killedReplica)
	step("PausedReplica", pausedReplica)
	if full {
		step("ReplicaCutFromItsNetwork", cutReplica)
	}
	step("CrashedRolesComeBack", crashedRolesComeBack)
	step("KilledControllerAndBus", killedControllerAndBus)
	step("KilledAgent", killedAgent)
	step("PausedAgent", pausedAgent)
	step("DownKeepsData", downKeepsData)
}

func speaksTheCourseAPI(t *testing.T, e *e2e) {
	f := func(method, path, body string, want ...string) {
		t.Helper()
		code, got, err := e.call(method, path, body)
		if err != nil || code != http.StatusOK {
			t.Errorf("%s %s: %d %s %v", method, path, code, got, err)
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s %s: %s, want %s", method, path, got, w)
			}
		}
	}
	f("GET", "/home", "", "Hello from Server: web-")
	f("GET", "/rep", "", `"N":3`)
	f("POST", "/add", `{"n":2,"hostnames":["S5","S4"]}`, `"N":5`, `"S5"`, `"S4"`)
	if !slices.Contains(e.running(""), "S5") {
		t.Error("no container runs S5")
	}
	f("DELETE", "/rm", `{"n":2,"hostnames":["S5","S4"]}`, `"N":3`)
	e.onlyWanted()
}

func isRestricted(t *testing.T, e *e2e) {
	const format = `{{.HostConfig.Privileged}} {{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.SecurityOpt}}`
	for _, id := range strings.Fields(e.docker("ps", "-q", "--filter", "name="+e.cluster)) {
		if got := e.docker("inspect", "--format", format, id); got != "false [ALL] true [no-new-privileges:true]" {
			t.Errorf("%s: %s", e.docker("inspect", "--format", "{{.Name}}", id), got)
		}
	}
	for _, name := range e.running("") {
		got := e.docker("inspect", "--format", `{{.Config.User}} {{.HostConfig.RestartPolicy.Name}} {{len .Mounts}} {{.HostConfig.Binds}} {{len .HostConfig.PortBindings}}`, e.instance(name))
		if got != "65534:65534 no 0 [] 0" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for service, socket := range map[string]bool{"bus": false, "controller": false, "router": false, "host-1": true} {
		if got := e.docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", e.role(service)); strings.Contains(got, "docker.sock") != socket {
			t.Errorf("%s mounts %s", service, got)
		}
	}
	if ports := e.docker("ps", "--filter", "name="+e.cluster, "--format", "{{.Ports}}"); strings.Contains(ports, "0.0.0.0:") || strings.Contains(ports, ":::") {
		t.Errorf("open to others: %s", ports)
	}
	if size := e.docker("image", "inspect", "--format", "{{.Size}}", e.image); len(size) > 8 || size > "40000000" {
		t.Errorf("the image has %s bytes", size)
	} else {
		t.Logf("the image has %s bytes", size)
	}
}

func upIsIdempotent(t *testing.T, e *e2e) {
	list := func() string { return e.docker("ps", "-q", "--no-trunc", "--filter", "name="+e.cluster) }
	before := list()
	e.up()
	if after := list(); after != before {
		t.Errorf("containers before:\n%s\nafter:\n%s", before, after)
	}
}

func killedReplica(t *testing.T, e *e2e) {
	l := e.load()
	for range 3 {
		names, err := e.rep()
		if err != nil {
			t.Fatal(err)
		}
		e.docker("kill", e.instance(names[0]))
		out, restored := e.without(names[:1], 3)
		t.Logf("docker kill of a replica: out of rotation after %s, restored after %s", ms(out), ms(restored))
	}
	l.end(t)
	e.onlyWanted()
}

// A paused replica is given half a minute, and then replaced.
func pausedReplica(t *testing.T, e *e2e) {
	names, err := e.rep()
	if err != nil {
		t.Fatal(err)
	}
	l := e.load()
	e.docker("pause", e.instance(names[0]))
	if full {
		out, restored := e.without(names[:1], 3)
		t.Logf("docker pause of a replica: out of rotation after %s, restored after %s", ms(out), ms(restored))
	} else {
		out, _ := e.without(names[:1], 2)
		e.docker("unpause", e.instance(names[0]))
		back := e.eventually(40*time.Second, func() error {
			if now, err := e.rep(); err != nil || !slices.Contains(now, names[0]) {
				return fmt.Errorf("%v serve (%v)", now, err)
			}
			return nil
		})
		t.Logf("docker pause of a replica: out of rotation after %s, back %s after unpause", ms(out), ms(back))
	}
	l.end(t)
	e.onlyWanted()
}

func cutReplica(t *testing.T, e *e2e) {
	names, err := e.rep()
	if err != nil {
		t.Fatal(err)
	}
	l := e.load()
	e.docker("network", "disconnect", "-f", e.cluster, e.instance(names[0]))
	out, restored := e.without(names[:1], 3)
	t.Logf("a replica cut from its network: out of rotation after %s, restored after %s", ms(out), ms(restored))
	l.end(t)
	e.onlyWanted()
}

// A crash, unlike docker kill, is for the engine to repair.
func crashedRolesComeBack(t *testing.T, e *e2e) {
	before, err := e.rep()
	if err != nil {
		t.Fatal(err)
	}
	l := e.load()
	for _, role := range []string{"controller", "bus", "host-1"} {
		id := e.role(role)
		pid := e.docker("inspect", "--format", "{{.State.Pid}}", id)
		if err := crash(pid); err != nil {
			t.Skipf("cannot end process %s of another: %v", pid, err)
		}
		e.eventually(60*time.Second, func() error {
			if now := e.docker("inspect", "--format", "{{.State.Pid}}", id); now == pid || now == "0" {
				return errors.New(role + " is not back")
			}
			return nil
		})
	}
	e.eventually(60*time.Second, func() error {
		if code, body, err := e.call(http.MethodPost, "/add", `{"n":1,"hostnames":["S7"]}`); err != nil || code != http.StatusOK {
			return fmt.Errorf("/add: %d %s %v", code, body, err)
		}
		return nil
	})
	if code, body, err := e.call(http.MethodDelete, "/rm", `{"n":1,"hostnames":["S7"]}`); err != nil || code != http.StatusOK {
		t.Errorf("/rm: %d %s %v", code, body, err)
	}
	after, err := e.rep()
	if slices.Sort(before); err != nil || !slices.Equal(before, slices.Sorted(slices.Values(after))) {
		t.Errorf("before %v, after %v (%v): replicas do not live through it", before, after, err)
	}
	l.end(t)
}

func killedControllerAndBus(t *testing.T, e *e2e) {
	for _, role := range []string{"controller", "bus"} {
		before, err := e.rep()
		if err != nil {
			t.Fatal(err)
		}
		l := e.load()
		e.docker("kill", e.role(role))
		for range 20 {
			if code, body, err := e.call(http.MethodGet, "/home", ""); err != nil || code != http.StatusOK {
				t.Errorf("/home without %s: %d %s %v", role, code, body, err)
			}
		}
		begun := time.Now()
		e.up() // docker kill is a person's word: the engine leaves it at that
		t.Logf("docker kill of the %s: whole again %s after `up` was called", role, ms(time.Since(begun)))
		after, err := e.rep()
		if slices.Sort(before); err != nil || !slices.Equal(before, slices.Sorted(slices.Values(after))) {
			t.Errorf("without %s: before %v, after %v (%v)", role, before, after, err)
		}
		l.end(t)
	}
}

func killedAgent(t *testing.T, e *e2e) {
	gone := e.running("host-2")
	l := e.load()
	e.docker("kill", e.role("host-2"))
	out, restored := e.without(gone, 3)
	t.Logf("docker kill of an agent: out of rotation after %s, restored after %s", ms(out), ms(restored))
	e.up()
	e.onlyWanted() // it ends what was replaced meanwhile
	l.end(t)
}

func pausedAgent(t *testing.T, e *e2e) {
	host := "host-3"
	gone := e.running(host)
	for _, h := range hosts {
		if len(gone) == 0 {
			host, gone = h, e.running(h)
		}
	}
	l := e.load()
	e.docker("pause", e.role(host))
	out, restored := e.without(gone, 3)
	t.Logf("docker pause of an agent: out of rotation after %s, restored after %s", ms(out), ms(restored))
	e.docker("unpause", e.role(host))
	e.onlyWanted()
	l.end(t)
}

func downKeepsData(t *testing.T, e *e2e) {
	if code, body, err := e.call(http.MethodPost, "/add", `{"n":1,"hostnames":["S9"]}`); err != nil || code != http.StatusOK {
		t.Fatalf("/add: %d %s %v", code, body, err)
	}
	if err := e.down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if left := e.docker("ps", "-aq", "--filter", "name="+e.cluster) + e.docker("network", "ls", "-q", "--filter", "name="+e.cluster); left != "" {
		t.Errorf("left: %s", left)
	}
	e.up()
	if names, err := e.rep(); err != nil || len(names) != 4 || !slices.Contains(names, "S9") {
		t.Errorf("after down and up: %v %v", names, err)
	}
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

// crash ends a process of the engine's machine, if that is ours.
func crash(pid string) error {
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		return err
	}
	p, err := os.FindProcess(n)
	if err != nil {
		return err
	}
	return p.Kill()
}
