package e2e

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/app"
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
	chooseRuntime()
	code := m.Run()
	_ = os.RemoveAll(builds.dir)
	os.Exit(code)
}

// onContainers matches the names of the tests that need a Docker engine.
const onContainers = "^(TestE2E|TestAdvertise)"

// chooseRuntime leaves out tests by RINGWAY_RUNTIME, as `go tool task up` takes
// it: process or docker; unset, all run. Tests of processes mostly wait for
// what clusters do, so half as many again run at once as in other packages.
func chooseRuntime() {
	flag.Parse()
	if os.Getenv("RINGWAY_RUNTIME") == "process" && !long() {
		parallel := flag.Lookup("test.parallel").Value
		n, _ := strconv.Atoi(parallel.String())
		_ = parallel.Set(strconv.Itoa(n * 3 / 2)) // a number is one that it takes
	}
	name := map[string]string{"process": "test.skip", "docker": "test.run"}[os.Getenv("RINGWAY_RUNTIME")]
	if name == "" || flag.Lookup(name).Value.String() != "" {
		return
	}
	if err := flag.Set(name, onContainers); err != nil {
		panic(err)
	}
}

// ringway is a command of the binary under test.
func ringway(id string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), testEnv+"="+id, "GORACE="+raceOptions)
	return cmd
}

// cluster is a running `ringway up`.
type cluster struct {
	api
	data   string
	cmd    *exec.Cmd
	stdout chan string // its lines
	stderr *syncBuffer
	ended  chan struct{}
	exit   error
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
	c := begin(t, data, command, args...)
	c.ready()
	return c
}

// begin starts a cluster of which only the address of the bus is known before
// it is ready.
func begin(t *testing.T, data string, command func(id string, args ...string) *exec.Cmd, args ...string) *cluster {
	t.Helper()
	bus := testkit.Address(t)
	c := &cluster{
		api:  api{t: t, id: t.Name() + "-" + strconv.FormatInt(time.Now().UnixNano(), 36), nats: "nats://" + bus},
		data: data, stdout: make(chan string, 16), stderr: &syncBuffer{}, ended: make(chan struct{}),
	}
	c.cmd = command(c.id, append([]string{"up", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--nats", bus, "--data", data}, args...)...)
	c.cmd.Stderr = c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.stdout)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			c.stdout <- s.Text()
		}
	}()
	go func() {
		c.exit = c.cmd.Wait()
		close(c.ended)
	}()
	t.Cleanup(func() { c.cleanup() })
	return c
}

// ready waits for the ready line.
func (c *cluster) ready() {
	c.t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		select {
		case line, ok := <-c.stdout:
			if !ok {
				<-c.ended
				c.t.Fatalf("up ended before it was ready: %v\n%s", c.exit, c.stderr)
			}
			if m := readyLine.FindStringSubmatch(line); m != nil {
				c.http, c.admin, c.nats = m[1], m[2], m[3]
				return
			}
		case <-deadline:
			c.t.Fatalf("not ready after 90 s\n%s", c.stderr)
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

// rounds is how often something is done in `task test` and in `task test:long`.
func rounds(short, more int) int {
	if long() {
		return more
	}
	return short
}

// long reports whether a test may take its time.
func long() bool { return os.Getenv("RINGWAY_LONG") != "" }

// on implements fleet for a part of a test.
func (c *cluster) on(t *testing.T) fleet {
	part := *c
	part.t = t
	return &part
}

// outside implements fleet.
func (c *cluster) outside() *api { return &c.api }

// patience implements fleet.
func (c *cluster) patience() time.Duration { return 20 * time.Second }

// running implements fleet.
func (c *cluster) running() (names []string) {
	for _, p := range processesOf(c.id) {
		if f := strings.Fields(p); len(f) > 4 && f[2] == "server" && f[3] == "--id" {
			names = append(names, f[4])
		}
	}
	return names
}

// killInstance implements fleet.
func (c *cluster) killInstance(name string) {
	c.t.Helper()
	for _, i := range c.serving() {
		if i.Name == name {
			c.kill(i.PID, syscall.SIGKILL)
			return
		}
	}
	c.t.Fatalf("%s does not serve", name)
}

// roleWords are the words of a role's command line: an agent is named by its
// host.
func roleWords(role string) []string {
	if strings.HasPrefix(role, "host-") {
		return []string{"agent", role}
	}
	return []string{role}
}

// crashRole implements fleet.
func (c *cluster) crashRole(role string) {
	c.t.Helper()
	old := c.role(roleWords(role)...)
	c.kill(old, syscall.SIGKILL)
	eventually(c.t, 20*time.Second, func() error {
		if now := c.findRole(roleWords(role)...); now == 0 || now == old {
			return fmt.Errorf("%s is process %d", role, now)
		}
		return nil
	})
}

// pauseRole implements fleet.
func (c *cluster) pauseRole(role string) (resume func()) {
	c.t.Helper()
	pid := c.role(roleWords(role)...)
	c.kill(pid, syscall.SIGSTOP)
	return func() { c.kill(pid, syscall.SIGCONT) }
}

// restart implements fleet.
func (c *cluster) restart() {
	c.t.Helper()
	c.stop()
	c.nothingLeft()
	*c = *upIn(c.t, c.data)
}

// What this package calls pieces of the testkit. Every wait here names its bound.
var try, eventually = testkit.Try, testkit.Within

type syncBuffer = testkit.Buffer
