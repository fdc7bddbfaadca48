package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringway/app"
	"ringway/events"
	"ringway/internal/testkit"
)

// The tests boot the real thing: this test binary, started again, is `ringway`.
const (
	testEnv     = "TEST_OF_RINGWAY" // marks every process of one test
	raceOptions = "halt_on_error=1 exitcode=66 atexit_sleep_ms=0"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(app.Main(context.Background(), "0.1.0-dev", os.Args[1:]))
	}
	code := m.Run()
	_ = os.RemoveAll(builds.dir)
	os.Exit(code)
}

// ringway is a command of the binary under test.
func ringway(id string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), testEnv+"="+id, "GORACE="+raceOptions)
	return cmd
}

// cluster is a running `ringway up`.
type cluster struct {
	t                 *testing.T
	id, data          string
	cmd               *exec.Cmd
	http, admin, nats string // base URLs
	stderr            *syncBuffer
	ended             chan struct{}
	exit              error
}

var readyLine = regexp.MustCompile(`^ready.*(http://\S+).*(http://\S+).*(nats://\S+)`)

// up starts a cluster on free ports and waits for its ready line. At the end
// of the test it is stopped as by ctrl-C, and nothing of it may be left.
func up(t *testing.T, args ...string) *cluster {
	t.Helper()
	return upIn(t, t.TempDir(), args...)
}

func upIn(t *testing.T, data string, args ...string) *cluster {
	t.Helper()
	return upOf(t, data, ringway, args...)
}

// upOf is upIn of any binary.
func upOf(t *testing.T, data string, command func(id string, args ...string) *exec.Cmd, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, id: t.Name() + "-" + strconv.FormatInt(time.Now().UnixNano(), 36), data: data, stderr: &syncBuffer{}, ended: make(chan struct{})}
	c.cmd = command(c.id, append([]string{"up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--data", data}, args...)...)
	c.cmd.Stderr = c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 16)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			lines <- s.Text()
		}
	}()
	go func() {
		c.exit = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() { c.cleanup() })
	deadline := time.After(90 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				<-c.ended
				t.Fatalf("up ended before it was ready: %v\n%s", c.exit, c.stderr)
			}
			if m := readyLine.FindStringSubmatch(line); m != nil {
				c.http, c.admin, c.nats = m[1], m[2], m[3]
				return c
			}
		case <-deadline:
			t.Fatalf("not ready after 90 s\n%s", c.stderr)
		}
	}
}

// stop ends the cluster as ctrl-C does.
func (c *cluster) stop() {
	c.t.Helper()
	select {
	case <-c.ended:
		return
	default:
	}
	_ = c.cmd.Process.Signal(os.Interrupt)
	select {
	case <-c.ended:
		if c.exit != nil {
			c.t.Errorf("up ended with %v after ctrl-C\n%s", c.exit, c.stderr)
		}
	case <-time.After(60 * time.Second):
		c.t.Errorf("up did not end within 60 s of ctrl-C\n%s", c.stderr)
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

func (c *cluster) cleanup() {
	c.stop()
	c.nothingLeft()
	c.noRaces()
	if c.t.Failed() {
		c.dumpLogs()
	}
}

// nothingLeft waits until no process of this cluster is alive.
func (c *cluster) nothingLeft() {
	c.t.Helper()
	var left []string
	err := try(20*time.Second, func() error {
		if left = processesOf(c.id); len(left) > 0 {
			return fmt.Errorf("%d processes", len(left))
		}
		return nil
	})
	if err == nil {
		return
	}
	c.t.Errorf("processes outlived `ringway up`: %s", strings.Join(left, "; "))
	for _, p := range left {
		if pid, err := strconv.Atoi(strings.Fields(p)[0]); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func processesOf(id string) (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err != nil || !bytes.Contains(env, []byte(testEnv+"="+id+"\x00")) {
			continue
		}
		args, _ := os.ReadFile(dir + "/cmdline")
		if len(args) > 0 { // a zombie has none
			found = append(found, filepath.Base(dir)+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

func (c *cluster) logs() (files []string) {
	_ = filepath.WalkDir(c.data, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".log") {
			files = append(files, path)
		}
		return nil
	})
	return files
}

func (c *cluster) noRaces() {
	for _, f := range c.logs() {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte("DATA RACE")) {
			c.t.Errorf("data race in %s:\n%s", f, b)
		}
	}
}

func (c *cluster) dumpLogs() {
	c.t.Logf("stderr of up:\n%s", c.stderr)
	for _, f := range c.logs() {
		b, _ := os.ReadFile(f)
		if len(b) > 6000 {
			b = b[len(b)-6000:]
		}
		c.t.Logf("%s:\n%s", filepath.Base(f), b)
	}
}

// run is one command of the CLI against the cluster.
func (c *cluster) run(args ...string) (stdout, stderr string, exit int) {
	c.t.Helper()
	cmd := ringway(c.id+"-cli", append(args, "--nats", c.nats)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exitErr *exec.ExitError
	if err != nil && !errors.As(err, &exitErr) {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// json runs a command of the CLI and reads what it prints.
func (c *cluster) json(into any, args ...string) error {
	out, errs, exit := c.run(append(args, "-o", "json")...)
	if exit != 0 {
		return fmt.Errorf("ringway %s: exit %d: %s", strings.Join(args, " "), exit, errs)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("ringway %s: %w in %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (c *cluster) ps() (lines []events.InstanceReport, err error) {
	err = c.json(&lines, "ps")
	return lines, err
}

// serving are the instances in rotation.
func (c *cluster) serving() []events.InstanceReport {
	c.t.Helper()
	lines, err := c.ps()
	if err != nil {
		c.t.Fatal(err)
	}
	var out []events.InstanceReport
	for _, i := range lines {
		if i.Serving {
			out = append(out, i)
		}
	}
	return out
}

// rep asks the router who serves.
func (c *cluster) rep() (names []string, err error) {
	var got struct {
		Message struct {
			N        int      `json:"N"`
			Replicas []string `json:"replicas"`
		} `json:"message"`
		Status string `json:"status"`
	}
	code, body, err := call(http.MethodGet, c.http+"/rep", "")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got.Status != "successful" || got.Message.N != len(got.Message.Replicas) {
		return nil, fmt.Errorf("GET /rep: %d %s", code, body)
	}
	return got.Message.Replicas, nil
}

// role finds the process of a role among the cluster's.
func (c *cluster) role(words ...string) int {
	c.t.Helper()
	pid := c.findRole(words...)
	if pid == 0 {
		c.t.Fatalf("no process runs %v among\n%s", words, strings.Join(processesOf(c.id), "\n"))
	}
	return pid
}

// findRole is role, or 0 while there is none.
func (c *cluster) findRole(words ...string) int {
	for _, p := range processesOf(c.id) {
		f := strings.Fields(p)
		if len(f) > 2 && f[2] == words[0] && containsAll(f[2:], words) {
			pid, _ := strconv.Atoi(f[0])
			return pid
		}
	}
	return 0
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h == w
		}
		if !found {
			return false
		}
	}
	return true
}

// kill sends a signal to a process that this test started.
func (c *cluster) kill(pid int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		c.t.Fatalf("signal %v to %d: %v", sig, pid, err)
	}
}

var client = &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 200, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}

// rounds is how often something is done in `task test` and in `task test:long`.
func rounds(short, more int) int {
	if long() {
		return more
	}
	return short
}

// long tells whether a test may take its time.
func long() bool { return os.Getenv("RINGWAY_LONG") != "" }

// call is one HTTP request.
func call(method, url, body string) (int, string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// load is traffic on one path that goes on until it is ended.
type load struct {
	sent, good atomic.Int64
	mu         sync.Mutex
	bad        []string
	byServer   map[string]int
	cancel     context.CancelFunc
	done       sync.WaitGroup
}

// startLoad sends requests over so many connections at once; pause is between
// two requests of one connection.
func startLoad(url string, concurrency int, pause time.Duration) *load {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	l := &load{cancel: cancel, byServer: map[string]int{}}
	transport := &http.Transport{MaxIdleConnsPerHost: concurrency}
	hc := &http.Client{Transport: transport, Timeout: 60 * time.Second}
	for range concurrency {
		l.done.Add(1)
		go func() {
			defer l.done.Done()
			tick := time.NewTicker(max(pause, time.Microsecond))
			defer tick.Stop()
			for ctx.Err() == nil {
				l.one(hc, url)
				if pause > 0 {
					select {
					case <-ctx.Done():
					case <-tick.C:
					}
				}
			}
		}()
	}
	go func() { l.done.Wait(); transport.CloseIdleConnections() }()
	return l
}

func (l *load) one(hc *http.Client, url string) {
	l.sent.Add(1)
	resp, err := hc.Get(url)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		l.fail(fmt.Sprintf("%d %s %v", resp.StatusCode, body, err))
		return
	}
	l.good.Add(1)
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil {
		l.mu.Lock()
		l.byServer[strings.TrimPrefix(answer.Message, "Hello from Server: ")]++
		l.mu.Unlock()
	}
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad = append(l.bad, time.Now().Format("05.000 ")+what)
}

// end stops the load and demands that every request was answered with 200.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.bad) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.bad), l.sent.Load(), strings.Join(l.bad[:min(5, len(l.bad))], " | "))
	}
	t.Logf("%d requests, %d answered with 200", l.sent.Load(), l.good.Load())
}

// What this package calls pieces of the testkit. Every wait here names its bound.
var try, eventually = testkit.Try, testkit.Within

type syncBuffer = testkit.Buffer
