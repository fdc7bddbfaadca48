package server

import (
	"log/slog"
	"strings"
	"testing"
)

// What nats-server does when its disk is full. It has no way back but a new
// start, so whoever runs the bus has to learn it.
func TestServer_EndsWhenJetStreamIsGone(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	s, err := Start(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
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

// The space on the disk when the bus starts, none perhaps, is no limit for later.
func TestServer_LimitIsNotWhatIsFreeAtStart(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	s, err := Start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	if got := s.nats.JetStreamConfig().MaxStore; got != maxStore {
		t.Fatalf("at most %d bytes can be stored", got)
	}
}
