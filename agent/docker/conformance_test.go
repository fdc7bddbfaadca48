package docker_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"ringway/agent"
	"ringway/agent/docker"
	"ringway/agent/runtimetest"
	"ringway/events"
)

func TestConformance(t *testing.T) {
	needEngine(t)
	network := newNetwork(t)
	runtimetest.Run(t, func(t *testing.T) runtimetest.Harness {
		cfg := config(t)
		cfg.Network = network
		return harness(cfg)
	})
}

func harness(cfg docker.Config) runtimetest.Harness {
	name := func(instance string) string { return cfg.Cluster + "-" + instance }
	return runtimetest.Harness{
		Open: func(t *testing.T) (agent.Runtime, func()) {
			rt := open(t, cfg)
			return rt, func() {
				if err := rt.Close(); err != nil {
					t.Error(err)
				}
			}
		},
		Kill: func(t *testing.T, in agent.Instance) {
			if err := engine.ContainerKill(t.Context(), name(in.Spec.Name), "KILL"); err != nil {
				t.Fatal(err)
			}
		},
		IgnoresSIGTERM: func(t *testing.T, instance string) (events.InstanceSpec, func() error) {
			spec := runtimetest.Sample(instance)
			spec.Command = []string{"/bin/sh", "stubborn"}
			return spec, func() error {
				logs, err := engine.ContainerLogs(t.Context(), name(instance), container.LogsOptions{ShowStdout: true})
				if err != nil {
					return err
				}
				defer logs.Close()
				if b, err := io.ReadAll(logs); err != nil || !strings.Contains(string(b), "stubborn") {
					return fmt.Errorf("it says %q (%v)", b, err)
				}
				return nil
			}
		},
	}
}
