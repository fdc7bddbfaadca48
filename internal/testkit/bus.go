package testkit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringway/events/bus"
	"ringway/events/bus/server"
)

// Bus is a bus in this process that can go away and come back on its port.
type Bus struct {
	*server.Server               // the running one, or the last one
	Config         server.Config // of the next start
	t              testing.TB
}

// StartBus starts a bus with a new store on a port of its own, until the test
// ends.
func StartBus(t testing.TB, change ...func(*server.Config)) *Bus {
	t.Helper()
	b := &Bus{Config: server.DefaultConfig(), t: t}
	b.Config.Listen, b.Config.Store = Address(t), t.TempDir()
	for _, f := range change {
		f(&b.Config)
	}
	b.Start()
	t.Cleanup(func() { b.Shutdown() })
	return b
}

// StartBuses starts three that know each other.
func StartBuses(t testing.TB) []*Bus {
	t.Helper()
	start := BusesOf(t, 3)
	return []*Bus{start(0, 3), start(1, 3), start(2, 3)}
}

// BusesOf returns what starts each of n buses, with routes to the first of them.
// Those that a new server has routes to must all be there before anything works.
func BusesOf(t testing.TB, n int) (start func(i, routes int) *Bus) {
	t.Helper()
	var routes []string
	for range n {
		routes = append(routes, "nats://"+Address(t))
	}
	return func(i, n int) *Bus {
		t.Helper()
		return StartBus(t, func(cfg *server.Config) {
			cfg.Name, cfg.Cluster, cfg.Routes = fmt.Sprintf("bus-%d", i), strings.TrimPrefix(routes[i], "nats://"), routes[:n]
		})
	}
}

// URLs is where clients reach one of several.
func URLs(buses []*Bus) string {
	var all []string
	for _, b := range buses {
		all = append(all, b.URL())
	}
	return strings.Join(all, ",")
}

// Start starts it again where it was, after a Shutdown.
func (b *Bus) Start() {
	b.t.Helper()
	// A program that knows nothing of Address may have its port for a moment.
	Eventually(b.t, func() (err error) {
		b.Server, err = server.Start(b.Config, Log(b.t))
		return err
	})
}

// Restart shuts it down and starts it again.
func (b *Bus) Restart() {
	b.t.Helper()
	b.Shutdown()
	b.Start()
}

// ShutdownAsIfKilled leaves the store as a kill would: without what the bus writes
// when it ends.
func (b *Bus) ShutdownAsIfKilled() {
	b.t.Helper()
	saved := b.t.TempDir()
	Must(b.t, os.CopyFS(saved, os.DirFS(b.Config.Store)))
	b.Shutdown()
	b.Wipe()
	Must(b.t, os.CopyFS(b.Config.Store, os.DirFS(saved)))
}

// FlipBit damages the message of a stream that has text, in the store of a bus that
// is shut down.
func (b *Bus) FlipBit(stream, text string) {
	b.t.Helper()
	blocks, err := filepath.Glob(filepath.Join(b.Config.Store, "jetstream", "*", "streams", stream, "msgs", "*.blk"))
	Must(b.t, err)
	for _, block := range blocks {
		data, err := os.ReadFile(block)
		Must(b.t, err)
		if i := bytes.LastIndex(data, []byte(text)); i >= 0 {
			data[i] ^= 1
			Must(b.t, os.WriteFile(block, data, 0o600))
			return
		}
	}
	b.t.Fatalf("no message of %s has %q", stream, text)
}

// Wipe empties the store of a bus that is shut down.
func (b *Bus) Wipe() {
	b.t.Helper()
	Must(b.t, os.RemoveAll(b.Config.Store))
}

// Connect connects to the bus at url until the test ends.
func Connect(t testing.TB, url string, change ...func(*bus.Config)) *bus.Conn {
	t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Name = url, t.Name()
	for _, f := range change {
		f(&cfg)
	}
	var c *bus.Conn
	Eventually(t, func() (err error) { // a starved machine takes longer than one attempt may
		c, err = bus.Connect(t.Context(), cfg, Log(t))
		return err
	})
	t.Cleanup(c.Close)
	return c
}
