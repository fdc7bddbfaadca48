package runtimetest_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ringway/agent"
	"ringway/agent/docker/dockertest"
	"ringway/agent/process"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	runtimetest.RunAsChild()
	os.Exit(dockertest.Run(m))
}

func TestProcess(t *testing.T) {
	run(t, func(t *testing.T) harness {
		cfg := process.DefaultConfig()
		cfg.Dir, cfg.Host, cfg.NATS = t.TempDir(), "host-1", runtimetest.NATS
		return harness{
			Open: func(t *testing.T) (agent.Runtime, func()) {
				rt, err := process.Open(t.Context(), cfg, nil, testkit.Log(t))
				if err != nil {
					t.Fatal(err)
				}
				return rt, func() {
					if err := rt.Close(); err != nil {
						t.Error(err)
					}
				}
			},
			IgnoresSIGTERM: func(t *testing.T, name string) (events.InstanceSpec, func() error) {
				mark := filepath.Join(t.TempDir(), "ready")
				spec := runtimetest.Shell(name, `trap "" TERM; : > "$MARK"; while :; do sleep 1; done`)
				spec.Env = map[string]string{"MARK": mark}
				return spec, func() error { _, err := os.Stat(mark); return err }
			},
			Kill: func(t *testing.T, in agent.Instance) {
				if err := syscall.Kill(in.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
