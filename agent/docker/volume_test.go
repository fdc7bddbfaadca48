package docker_test

import (
	"strings"
	"testing"

	"ringway/agent/docker"
	"ringway/agent/docker/dockertest"
	"ringway/agent/runtimetest"
	"ringway/internal/testkit"
)

// A shard server is restricted as everything is, and has one thing more.
func TestRuntime_AShardServerWritesToItsVolumeOnly(t *testing.T) {
	f := newFixture(t)
	in := f.start(runtimetest.Shard("D1", "v1"))
	testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/lives", "D1 ") })
	c := f.inspect("D1")
	if len(c.Mounts) != 1 || c.Mounts[0].Name != f.cfg.Cluster+"-v1" || c.Mounts[0].Destination != "/data" || len(c.HostConfig.Binds) != 0 {
		t.Errorf("mounts: %+v, binds: %v", c.Mounts, c.HostConfig.Binds)
	}
	if !c.HostConfig.ReadonlyRootfs || c.Config.User != "65534:65534" || len(c.HostConfig.CapDrop) != 1 || c.Config.Labels[docker.LabelVolume] != "v1" {
		t.Errorf("host %+v, user %s, labels %v", c.HostConfig, c.Config.User, c.Config.Labels)
	}
	v, err := dockertest.Engine.VolumeInspect(t.Context(), f.cfg.Cluster+"-v1")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{docker.LabelCluster: f.cfg.Cluster, docker.LabelHost: "host-1", docker.LabelVolume: "v1", docker.LabelService: "StudT"} {
		if v.Labels[key] != want {
			t.Errorf("label %s of the volume is %q, want %q", key, v.Labels[key], want)
		}
	}
}

// Agents that share an engine do not share volumes.
func TestRuntime_AVolumeBelongsToOneHost(t *testing.T) {
	one := newFixture(t)
	one.start(runtimetest.Shard("D1", "v1"))
	cfg := one.cfg
	cfg.Host = "host-2"
	two := run(t, cfg)
	if _, err := two.Start(t.Context(), runtimetest.Shard("D2", "v1"), runtimetest.Token); err == nil || !strings.Contains(err.Error(), "not of cluster "+cfg.Cluster+" on host host-2") {
		t.Errorf("got %v", err)
	}
	if names := two.names(); len(names) != 0 {
		t.Errorf("listed: %v", names)
	}
}
