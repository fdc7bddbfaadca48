package server_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"ringway/events/bus/server"
	"ringway/internal/testkit"
)

func serverConfig(t *testing.T) server.Config {
	cfg := server.DefaultConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", filepath.Join(t.TempDir(), "store")
	return cfg
}

func TestDefaultServerConfig_SyncsAlways(t *testing.T) {
	if !server.DefaultConfig().SyncAlways {
		t.Fatal("an acknowledged write may be lost in a power cut")
	}
}

func TestStartServer_PortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f := func(flag string, change func(*server.Config)) {
		t.Helper()
		cfg := serverConfig(t)
		change(&cfg)
		_, err := server.Start(cfg, testkit.Log(t))
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
	f("--listen", func(cfg *server.Config) { cfg.Listen = l.Addr().String() })
	f("--monitor", func(cfg *server.Config) { cfg.Monitor = l.Addr().String() })
}

func TestStartServer_StoreInUse(t *testing.T) {
	cfg := serverConfig(t)
	first, err := server.Start(cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Start(cfg, testkit.Log(t))
	wantErr(t, err, server.ErrStoreInUse)
	if !strings.Contains(err.Error(), cfg.Store) {
		t.Errorf("%q does not name the store", err)
	}
	first.Shutdown()
	if err := first.Wait(); err != nil {
		t.Errorf("a server that was told to end says %v", err)
	}
	second, err := server.Start(cfg, testkit.Log(t))
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
	_, err := server.Start(cfg, testkit.Log(t))
	wantErr(t, err, server.ErrStoreInUse)
	process.Kill()
	s, err := server.Start(cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
}

func TestStartServer_SaysWhatIsWrong(t *testing.T) {
	f := func(want string, change func(*server.Config)) {
		t.Helper()
		cfg := serverConfig(t)
		change(&cfg)
		s, err := server.Start(cfg, testkit.Log(t))
		if err == nil {
			s.Shutdown()
			t.Fatalf("started with %+v", cfg)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	f("store", func(cfg *server.Config) { cfg.Store = "" })
	f("host:port", func(cfg *server.Config) { cfg.Listen = "4222" })
	f("65535", func(cfg *server.Config) { cfg.Listen = "127.0.0.1:70000" })
	f("192.0.2.1:0", func(cfg *server.Config) { cfg.Listen = "192.0.2.1:0" }) // an address of nobody
	f("not a directory", func(cfg *server.Config) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg.Store = filepath.Join(file, "store")
	})
	f("not a directory", func(cfg *server.Config) { // nats-server itself finds this
		if err := os.MkdirAll(cfg.Store, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.Store, "jetstream"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// nats-server forgets a stream that is being created while it ends.
func TestShutdown_LeavesNoStreamBehind(t *testing.T) {
	for range 5 {
		before := goleak.IgnoreCurrent()
		s, err := server.Start(serverConfig(t), testkit.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		c, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		created, ended := make(chan struct{}, 1), make(chan struct{})
		go func() {
			defer close(ended)
			for n := 0; ; n++ {
				name := fmt.Sprintf("s%d", n)
				stream := fmt.Sprintf(`{"name":%q,"storage":"file","retention":"limits","discard":"old","num_replicas":1}`, name)
				if _, err := c.Request("$JS.API.STREAM.CREATE."+name, []byte(stream), 5*time.Second); err != nil {
					return // the server has ended
				}
				select {
				case created <- struct{}{}:
				default:
				}
			}
		}()
		<-created
		s.Shutdown()
		c.Close()
		<-ended
		if err := goleak.Find(before); err != nil {
			t.Fatal(err)
		}
	}
}
