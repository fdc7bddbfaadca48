package runtimetest_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"ringway/agent"
	"ringway/agent/docker"
	"ringway/agent/docker/dockertest"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

func TestDocker(t *testing.T) {
	dockertest.Need(t)
	network := dockertest.Network(t)
	run(t, func(t *testing.T) harness {
		cfg := dockertest.Config(t)
		cfg.Network = network
		return onEngine(cfg)
	})
}

func onEngine(cfg docker.Config) harness {
	name := func(instance string) string { return cfg.Cluster + "-" + instance }
	return harness{
		Open: func(t *testing.T) (agent.Runtime, func()) {
			rt, err := docker.New(cfg, testkit.Log(t))
			if err != nil {
				t.Fatal(err)
			}
			return rt, func() {
				if err := rt.Close(); err != nil {
					t.Error(err)
				}
			}
		},
		Kill: func(t *testing.T, in agent.Instance) {
			if err := dockertest.Engine.ContainerKill(t.Context(), name(in.Spec.Name), "KILL"); err != nil {
				t.Fatal(err)
			}
		},
		IgnoresSIGTERM: func(t *testing.T, instance string) (events.InstanceSpec, func() error) {
			spec := runtimetest.Sample(instance)
			spec.Command = []string{"/bin/sh", "stubborn"}
			return spec, func() error {
				logs, err := dockertest.Engine.ContainerLogs(t.Context(), name(instance), container.LogsOptions{ShowStdout: true})
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
