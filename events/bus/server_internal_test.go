package bus

import (
	"log/slog"
	"strings"
	"testing"
)

// MonitorURL is the root of the monitoring endpoints.
func (s *Server) MonitorURL() string { return "http://" + s.nats.MonitorAddr().String() }

// What nats-server does when its disk is full. It has no way back but a new
// start, so whoever runs the bus has to learn it.
func TestServer_EndsWhenJetStreamIsGone(t *testing.T) {
	cfg := DefaultServerConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	s, err := StartServer(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if err := s.nats.DisableJetStream(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err == nil || !strings.Contains(err.Error(), cfg.Store) {
		t.Fatalf("got %v, want an error that names the store", err)
	}
}

// The room on the disk when the bus starts, none perhaps, is no limit for later.
func TestServer_LimitIsNotWhatIsFreeAtStart(t *testing.T) {
	cfg := DefaultServerConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	s, err := StartServer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if got := s.nats.JetStreamConfig().MaxStore; got != maxStore {
		t.Fatalf("at most %d bytes can be stored", got)
	}
}

func TestAtLeast(t *testing.T) {
	f := func(version string, want bool) {
		t.Helper()
		if got := atLeast(version, "2.15.0"); got != want {
			t.Errorf("%q: got %v", version, got)
		}
	}
	f("2.15.0", true)
	f("2.15.2", true)
	f("3.0.0", true)
	f("2.14.9", false)
	f("1.99.9", false)
	f("2.16.0-RC.1", true)
	f("", true)
}

func TestReconnectDelay(t *testing.T) {
	for attempt := range 100 {
		if d := reconnectDelay(attempt); d < minReconnect/2 || d > maxReconnect {
			t.Fatalf("attempt %d waits %s", attempt, d)
		}
	}
}
