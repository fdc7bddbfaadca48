package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
)

// A test that kills a bus with SIGKILL needs one in a process of its own: this
// binary, started again with the store in serverStore.
const (
	serverStore  = "RINGWAY_TEST_BUS_STORE"
	serverListen = "RINGWAY_TEST_BUS_LISTEN"
)

func TestMain(m *testing.M) {
	if store := os.Getenv(serverStore); store != "" {
		serveUntilParentEnds(store, os.Getenv(serverListen))
		return
	}
	goleak.VerifyTestMain(m)
}

func serveUntilParentEnds(store, listen string) {
	cfg := bus.DefaultServerConfig()
	cfg.Store, cfg.Listen = store, listen
	s, err := bus.StartServer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	s.Shutdown()
}

// startProcess starts a bus in a process of its own and returns its URL.
func startProcess(t *testing.T, store, listen string) (*exec.Cmd, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serverStore+"="+store, serverListen+"="+listen)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // killed by the test, most likely
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "nats://") {
		t.Fatalf("bus process says %q, %v", line, err)
	}
	return cmd, strings.TrimSpace(line)
}

// testBus is an embedded bus that can go away and come back on its port.
type testBus struct {
	t   *testing.T
	cfg bus.ServerConfig
	*bus.Server
}

func startBus(t *testing.T) *testBus {
	t.Helper()
	cfg := bus.DefaultServerConfig()
	cfg.Listen, cfg.Monitor, cfg.Store = "127.0.0.1:0", "127.0.0.1:0", t.TempDir()
	b := &testBus{t: t, cfg: cfg}
	b.start()
	b.cfg.Listen = strings.TrimPrefix(b.URL(), "nats://")
	t.Cleanup(func() { b.Shutdown() })
	return b
}

func (b *testBus) start() {
	b.t.Helper()
	var err error
	// The port may be taken by an outgoing connection for a moment.
	eventually(b.t, func() error {
		b.Server, err = bus.StartServer(b.cfg, testLog(b.t))
		return err
	})
}

// wipe empties the store of a bus that is down.
func (b *testBus) wipe() {
	b.t.Helper()
	if err := os.RemoveAll(b.cfg.Store); err != nil {
		b.t.Fatal(err)
	}
}

func connect(t *testing.T, url string) *bus.Conn {
	t.Helper()
	return connectWith(t, url, func(*bus.Config) {})
}

func connectWith(t *testing.T, url string, change func(*bus.Config)) *bus.Conn {
	t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Name = url, t.Name()
	change(&cfg)
	c, err := bus.Connect(t.Context(), cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func bucket(t *testing.T, c *bus.Conn, name string) *bus.Bucket {
	t.Helper()
	b, err := c.Bucket(within(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %v", patience, err)
		case <-again.C:
		}
	}
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func sameText(got []byte, want string) error {
	if string(got) != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// recorder collects what a callback was given.
type recorder[T any] struct {
	mu  sync.Mutex
	all []T
}

func (r *recorder[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, v)
}

func (r *recorder[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), r.all...)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func at(v events.Version, revision uint64) events.Version { v.Revision = revision; return v }
