package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ringway/events/bus/server"
	"ringway/internal/testkit"
)

// A server that joins others deletes what they do not know of, half a minute later.
func TestStartServer_KeepsAStoreOfOneServerOutOfAClusterOfSeveral(t *testing.T) {
	alone := testkit.StartBus(t)
	nc, err := nats.Connect(alone.URL())
	testkit.Must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	testkit.Must(t, err)
	_, err = js.CreateStream(testkit.Context(t), jetstream.StreamConfig{Name: "s", Subjects: []string{"s"}})
	testkit.Must(t, err)
	alone.Shutdown()
	cfg := alone.Config
	cfg.Name, cfg.Cluster = "bus-1", testkit.Address(t)
	cfg.Routes = []string{"nats://" + cfg.Cluster, "nats://" + testkit.Address(t)}
	if _, err := server.Start(cfg, testkit.Log(t)); !errors.Is(err, server.ErrOtherMode) {
		t.Fatalf("got %v", err)
	}
	alone.Start() // as it was
	_, err = js.Stream(testkit.Context(t), "s")
	testkit.Eventually(t, func() error { _, err = js.Stream(testkit.Context(t), "s"); return err })
}

// The others wait for a server by its name, and one that is alone writes another
// history than they.
func TestStartServer_OfACluster(t *testing.T) {
	route := "nats://" + testkit.Address(t)
	one := testkit.StartBus(t, func(cfg *server.Config) {
		cfg.Name, cfg.Cluster = "bus-1", testkit.Address(t)
		cfg.Routes = []string{"nats://" + cfg.Cluster, route}
	})
	one.Shutdown()
	cfg := one.Config
	cfg.Name = "bus-2"
	if _, err := server.Start(cfg, testkit.Log(t)); err == nil || !strings.Contains(err.Error(), "--name bus-1") {
		t.Errorf("under another name: %v", err)
	}
	cfg = one.Config
	cfg.Cluster, cfg.Routes = "", nil
	if _, err := server.Start(cfg, testkit.Log(t)); !errors.Is(err, server.ErrOtherMode) {
		t.Errorf("alone: %v", err)
	}
	one.Start()
}
