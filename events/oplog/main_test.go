package oplog_test

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
	"ringway/events/oplog"
)

// The bus of these tests may be killed, so it is a process of its own: this
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

// busProcess is a bus that can be killed and started again on its port.
type busProcess struct {
	t             testing.TB
	store, listen string
	cmd           *exec.Cmd
	stdin         io.Closer
}

func startBus(t testing.TB) *busProcess {
	t.Helper()
	b := &busProcess{t: t, store: t.TempDir(), listen: "127.0.0.1:0"}
	url, err := b.start()
	if err != nil {
		t.Fatal(err)
	}
	b.listen = strings.TrimPrefix(url, "nats://")
	t.Cleanup(b.kill)
	return b
}

func (b *busProcess) url() string { return "nats://" + b.listen }

func (b *busProcess) start() (url string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	b.cmd = exec.Command(exe)
	b.cmd.Env = append(os.Environ(), serverStore+"="+b.store, serverListen+"="+b.listen)
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return "", err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := b.cmd.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "nats://") {
		b.kill()
		return "", fmt.Errorf("the bus says %q, %v", line, err)
	}
	return strings.TrimSpace(line), nil
}

// restart starts it after a kill; its port may be taken for a moment.
func (b *busProcess) restart() {
	b.t.Helper()
	eventually(b.t, func() error { _, err := b.start(); return err })
}

// kill ends it as a crash does.
func (b *busProcess) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait() // says that it was killed
	_ = b.stdin.Close()
}

func connect(t testing.TB, url string) *bus.Conn {
	t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Name = url, t.Name()
	c, err := bus.Connect(context.Background(), cfg, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var theLog = events.LogID{Table: "StudT", Shard: "sh1", Incarnation: "first"}

func createLog(t testing.TB, c *bus.Conn, id events.LogID) {
	t.Helper()
	if _, err := c.CreateLog(within(t), id, 0); err != nil {
		t.Fatal(err)
	}
}

// run runs a writer until the test, or stop, ends it.
func run(t testing.TB, cfg oplog.Config, logs oplog.Log, hear oplog.Listener, asks oplog.Asker) (w *oplog.Writer, stop func()) {
	t.Helper()
	w, err := oplog.New(cfg, logs, hear, asks, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, func() error { // it refuses until it hears
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := w.Do(ctx, theLog, insert(0))
		var refusal *events.Refusal
		if errors.As(err, &refusal) {
			return err
		}
		return nil
	})
	return w, stop
}

func insert(key int64) *events.Op {
	return &events.Op{Kind: events.OpInsert, Rows: []events.Row{{events.Int(key), events.Text("name"), events.Int(27)}}}
}

// patience bounds every wait of these tests.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
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

func testLog(t testing.TB) *slog.Logger {
	if _, bench := t.(*testing.B); bench {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
