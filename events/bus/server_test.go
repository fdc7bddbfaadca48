package bus_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

func serverConfig(t *testing.T) bus.ServerConfig {
	cfg := bus.DefaultServerConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", filepath.Join(t.TempDir(), "store")
	return cfg
}

func TestDefaultServerConfig_SyncsAlways(t *testing.T) {
	if !bus.DefaultServerConfig().SyncAlways {
		t.Fatal("an acknowledged write may be lost in a power cut")
	}
}

func TestStartServer_PortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f := func(flag string, change func(*bus.ServerConfig)) {
		t.Helper()
		cfg := serverConfig(t)
		change(&cfg)
		_, err := bus.StartServer(cfg, testkit.Log(t))
		wantErr(t, err, syscall.EADDRINUSE)
		for _, part := range []string{l.Addr().String(), flag} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %q", err, part)
			}
		}
		if _, err := os.Stat(cfg.Store); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the store was touched: %v", err)
		}
	}
	f("--listen", func(cfg *bus.ServerConfig) { cfg.Listen = l.Addr().String() })
	f("--monitor", func(cfg *bus.ServerConfig) { cfg.Monitor = l.Addr().String() })
}

func TestStartServer_StoreInUse(t *testing.T) {
	cfg := serverConfig(t)
	first, err := bus.StartServer(cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = bus.StartServer(cfg, testkit.Log(t))
	wantErr(t, err, bus.ErrStoreInUse)
	if !strings.Contains(err.Error(), cfg.Store) {
		t.Errorf("%q does not name the store", err)
	}
	first.Shutdown()
	if err := first.Wait(); err != nil {
		t.Errorf("a server that was told to end says %v", err)
	}
	second, err := bus.StartServer(cfg, testkit.Log(t))
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	second.Shutdown()
}

// The lock dies with its holder, however it dies.
func TestStartServer_AfterKill(t *testing.T) {
	process := testkit.StartBusProcess(t)
	cfg := serverConfig(t)
	cfg.Store = process.Store
	_, err := bus.StartServer(cfg, testkit.Log(t))
	wantErr(t, err, bus.ErrStoreInUse)
	process.Kill()
	s, err := bus.StartServer(cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
}

func TestStartServer_SaysWhatIsWrong(t *testing.T) {
	f := func(want string, change func(*bus.ServerConfig)) {
		t.Helper()
		cfg := serverConfig(t)
		change(&cfg)
		s, err := bus.StartServer(cfg, testkit.Log(t))
		if err == nil {
			s.Shutdown()
			t.Fatalf("started with %+v", cfg)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	f("store", func(cfg *bus.ServerConfig) { cfg.Store = "" })
	f("host:port", func(cfg *bus.ServerConfig) { cfg.Listen = "4222" })
	f("65535", func(cfg *bus.ServerConfig) { cfg.Listen = "127.0.0.1:70000" })
	f("192.0.2.1:0", func(cfg *bus.ServerConfig) { cfg.Listen = "192.0.2.1:0" }) // an address of nobody
	f("not a directory", func(cfg *bus.ServerConfig) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Store = filepath.Join(file, "store")
	})
	f("not a directory", func(cfg *bus.ServerConfig) { // nats-server itself finds this
		if err := os.MkdirAll(cfg.Store, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Store, "jetstream"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

// A server whose messages are cut off in the middle comes up with what is
// whole.
func TestStartServer_WithATornStore(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketDesired)
	for _, key := range []string{"service.a", "service.b"} {
		must(t)(b.Create(ctx, key, []byte("whole")))
	}
	srv.Shutdown()
	blocks, err := filepath.Glob(filepath.Join(srv.Config.Store, "jetstream", "*", "streams", "KV_"+events.BucketDesired, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks: %v, %v", blocks, err)
	}
	info, err := os.Stat(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blocks[0], info.Size()-3); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	testkit.Eventually(t, func() error {
		e, err := b.Get(ctx, "service.a")
		if err == nil {
			err = sameText(e.Value, "whole")
		}
		return err
	})
	if _, err := b.Get(ctx, "service.b"); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("the torn value: %v", err)
	}
}
