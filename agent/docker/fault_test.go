package docker_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/agent/docker"
	"ringway/agent/docker/dockertest"
	"ringway/agent/runtimetest"
	"ringway/internal/testkit"
)

// gate stands between a runtime and the real engine: open, hung (it accepts and
// passes nothing on) or shut.
type gate struct {
	path      string
	mu        sync.Mutex
	open      *sync.Cond
	listError bool
	shut      bool
	all       map[net.Conn]bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	dockertest.Need(t)
	target, ok := strings.CutPrefix(dockertest.Engine.DaemonHost(), "unix://")
	if !ok {
		t.Skipf("the engine is at %s, and the gate knows Unix sockets only", dockertest.Engine.DaemonHost())
	}
	g := &gate{path: filepath.Join(t.TempDir(), "engine.sock"), all: map[net.Conn]bool{}}
	g.open = sync.NewCond(&g.mu)
	l, err := net.Listen("unix", g.path)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if !g.add(c) {
				continue
			}
			group.Go(func() {
				defer g.drop(c)
				up, err := net.Dial("unix", target)
				if err != nil || !g.add(up) {
					return
				}
				defer g.drop(up)
				group.Go(func() { g.pass(up, c) })
				g.pass(c, up)
			})
		}
	})
	t.Cleanup(func() { // registered before the fixture's, so it runs after
		_ = l.Close()
		g.set(false, true)
		group.Wait()
	})
	return g
}

func (g *gate) add(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		_ = c.Close()
		return false
	}
	g.all[c] = true
	return true
}

func (g *gate) drop(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, c)
	_ = c.Close()
}

func (g *gate) pass(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		g.mu.Lock()
		for g.listError && !g.shut {
			g.open.Wait()
		}
		g.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if half, ok := to.(*net.UnixConn); ok {
				_ = half.CloseWrite()
			}
			return
		}
		if err != nil {
			return
		}
	}
}

func (g *gate) set(listError, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listError, g.shut = listError, shut
	if shut {
		for c := range g.all {
			_ = c.Close()
		}
	}
	g.open.Broadcast()
}

func behind(g *gate) func(*docker.Config) {
	return func(c *docker.Config) {
		c.Endpoint = "unix://" + g.path
		c.CallWithin, c.StartWithin, c.RetryAfter = 500*time.Millisecond, 500*time.Millisecond, 50*time.Millisecond
	}
}

// slow gives a real engine time to start a container.
func slow(c *docker.Config) { c.CallWithin, c.StartWithin = 5*time.Second, 10*time.Second }

func TestRuntime_ReportsWhatHappenedWhileTheEngineHung(t *testing.T) {
	g := newGate(t)
	f := newFixture(t, behind(g), slow)
	f.start(runtimetest.Sample("S1"))
	g.set(true, false)
	begun := time.Now()
	var calls sync.WaitGroup
	for what, call := range map[string]func() error{
		"list":   func() error { _, err := f.List(t.Context()); return err },
		"start":  func() error { _, err := f.Start(t.Context(), runtimetest.Sample("S2"), runtimetest.Token); return err },
		"stop":   func() error { return f.Stop(t.Context(), "S1", 0) },
		"forget": func() error { return f.Forget(t.Context(), "S1") },
	} {
		calls.Go(func() {
			if err := call(); err == nil {
				t.Errorf("%s succeeded", what)
			}
		})
	}
	calls.Wait()
	if took := time.Since(begun); took > 45*time.Second {
		t.Errorf("the calls took %s", took)
	}
	f.kill("S1")
	g.set(false, false)
	testkit.Eventually(t, func() error { return f.reported("S1") })
}

func TestRuntime_ReportsWhatHappenedWhileTheEngineWasAway(t *testing.T) {
	g := newGate(t)
	f := newFixture(t, behind(g), slow)
	f.start(runtimetest.Sample("S1"))
	g.set(false, true)
	if _, err := f.List(t.Context()); err == nil {
		t.Error("list succeeded")
	}
	f.kill("S1")
	g.set(false, false)
	testkit.Eventually(t, func() error { return f.reported("S1") })
	f.start(runtimetest.Sample("S2"))
	f.kill("S2")
	testkit.Eventually(t, func() error { return f.reported("S2") })
}

// An agent may be there before its engine.
func TestRuntime_WaitsForAnEngine(t *testing.T) {
	g := newGate(t)
	g.set(false, true)
	f := newFixture(t, behind(g), slow)
	if _, err := f.List(t.Context()); err == nil {
		t.Error("list succeeded")
	}
	g.set(false, false)
	testkit.Eventually(t, func() error { _, err := f.List(t.Context()); return err })
	f.start(runtimetest.Sample("S1"))
	f.kill("S1")
	testkit.Eventually(t, func() error { return f.reported("S1") })
}

// The stream of events is opened again and again, and loses nothing.
func TestRuntime_EventsGoOnOverReopening(t *testing.T) {
	f := newFixture(t, func(c *docker.Config) { c.Reopen = 300 * time.Millisecond })
	for _, name := range []string{"S1", "S2", "S3"} {
		f.start(runtimetest.Sample(name))
		f.kill(name)
		testkit.Eventually(t, func() error { return f.reported(name) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.deaths) != 3 {
		t.Errorf("told %d deaths: %+v", len(f.deaths), f.deaths)
	}
}
