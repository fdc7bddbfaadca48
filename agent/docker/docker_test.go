package docker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"ringway/agent"
	"ringway/agent/docker"
	"ringway/agent/docker/dockertest"
	"ringway/agent/runtimetest"
	"ringway/events"
	"ringway/internal/testkit"
)

// fixture is a runtime that runs, and the deaths it told of.
type fixture struct {
	*docker.Runtime
	t   *testing.T
	cfg docker.Config
	end func()

	mu     sync.Mutex
	deaths []agent.Instance
}

func newFixture(t *testing.T, change ...func(*docker.Config)) *fixture {
	t.Helper()
	cfg := dockertest.Config(t)
	for _, c := range change {
		c(&cfg)
	}
	return run(t, cfg)
}

func run(t *testing.T, cfg docker.Config) *fixture {
	t.Helper()
	rt, err := docker.New(cfg, testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Runtime: rt, t: t, cfg: cfg}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- f.Run(ctx, func(in agent.Instance) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.deaths = append(f.deaths, in)
		})
	}()
	f.end = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, f.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.end)
	return f
}

func (f *fixture) start(spec events.InstanceSpec) agent.Instance {
	f.t.Helper()
	in, err := f.Start(f.t.Context(), spec, runtimetest.Token)
	if err != nil {
		f.t.Fatal(err)
	}
	return in
}

func (f *fixture) container(name string) string { return f.cfg.Cluster + "-" + name }

func (f *fixture) inspect(name string) container.InspectResponse {
	f.t.Helper()
	found, err := dockertest.Engine.ContainerInspect(f.t.Context(), f.container(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return found
}

func (f *fixture) kill(name string) {
	f.t.Helper()
	if err := dockertest.Engine.ContainerKill(f.t.Context(), f.container(name), "KILL"); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) reported(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range f.deaths {
		if in.Spec.Name == name {
			return nil
		}
	}
	return fmt.Errorf("no death of %s among %v", name, f.deaths)
}

func (f *fixture) names() (names []string) {
	f.t.Helper()
	all, err := f.List(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, in := range all {
		names = append(names, in.Spec.Name)
	}
	return names
}

func TestRuntime_ContainersAreRestricted(t *testing.T) {
	f := newFixture(t)
	spec := runtimetest.Sample("S1")
	spec.Limits = events.Limits{Memory: 64 << 20, CPUs: 0.5, PIDs: 50}
	f.start(spec)
	f.start(runtimetest.Sample("S2"))
	check := func(name string, memory, nanoCPUs, pids int64) {
		c := f.inspect(name)
		h := c.HostConfig
		for what, ok := range map[string]bool{
			"no privilege":         !h.Privileged,
			"no capability":        slices.Equal(h.CapDrop, []string{"ALL"}) && len(h.CapAdd) == 0,
			"no new privileges":    slices.Contains(h.SecurityOpt, "no-new-privileges:true"),
			"read-only root":       h.ReadonlyRootfs,
			"no mount of the host": len(h.Binds) == 0 && len(h.Mounts) == 0 && len(c.Mounts) == 0,
			"not root":             c.Config.User == "65534:65534",
			"never restarted":      h.RestartPolicy.Name == container.RestartPolicyDisabled,
			"own name spaces":      h.PidMode == "" && h.IpcMode != "host" && h.NetworkMode != "host" && h.UTSMode == "",
			"memory":               h.Memory == memory && h.MemorySwap == memory,
			"cpus":                 h.NanoCPUs == nanoCPUs,
			"pids":                 h.PidsLimit != nil && *h.PidsLimit == pids,
			"logs are bounded":     h.LogConfig.Config["max-size"] != "" && h.LogConfig.Config["max-file"] == "2",
			"no port is published": len(h.PortBindings) == 0,
		} {
			if !ok {
				t.Errorf("%s of %s: %+v", what, name, h)
			}
		}
	}
	check("S1", 64<<20, 5e8, 50)
	d := f.cfg.Limits
	check("S2", d.Memory, int64(d.CPUs*1e9), int64(d.PIDs))

	labels := f.inspect("S1").Config.Labels
	for key, want := range map[string]string{
		docker.LabelCluster: f.cfg.Cluster, docker.LabelService: "web", docker.LabelInstance: "S1", docker.LabelHost: "host-1", docker.LabelToken: "life/7",
	} {
		if labels[key] != want {
			t.Errorf("label %s is %q, want %q", key, labels[key], want)
		}
	}
	if labels[docker.LabelSpecHash] == "" || labels[docker.LabelSpecHash] == f.inspect("S2").Config.Labels[docker.LabelSpecHash] {
		t.Error("the hash does not tell two specs apart")
	}
}

func TestRuntime_CannotWriteToItsRoot(t *testing.T) {
	f := newFixture(t)
	f.start(runtimetest.Shell("S1", `echo x > /tmp/x && echo x > /run/x && echo x > /x`))
	testkit.Eventually(t, func() error { return f.reported("S1") })
	if d := f.deaths[0].Detail; !strings.Contains(d, "read-only") {
		t.Errorf("detail is %q", d)
	}
}

func TestRuntime_AddressesThatRoutersReach(t *testing.T) {
	dockertest.Need(t)
	shared := dockertest.Network(t)
	get := func(in agent.Instance) {
		t.Helper()
		testkit.Eventually(t, func() error { return runtimetest.Get(in.Address, "/home", "Server: S1") })
	}
	t.Run("default bridge", func(t *testing.T) { get(newFixture(t).start(runtimetest.Sample("S1"))) })
	t.Run("fixed port", func(t *testing.T) {
		spec := runtimetest.Sample("S1")
		spec.Port = 80 // no privilege is needed for it inside
		in := newFixture(t).start(spec)
		if !strings.HasSuffix(in.Address, ":80") {
			t.Errorf("address is %s", in.Address)
		}
		get(in)
	})
	t.Run("shared network", func(t *testing.T) {
		f := newFixture(t, func(c *docker.Config) { c.Network = shared })
		in := f.start(runtimetest.Sample("S1"))
		get(in)
		e := f.inspect("S1").NetworkSettings.Networks[shared]
		if e == nil || !strings.HasPrefix(in.Address, e.IPAddress+":") || !slices.Contains(e.Aliases, "S1") {
			t.Errorf("address %s, endpoint %+v", in.Address, e)
		}
	})
	t.Run("published port", func(t *testing.T) {
		f := newFixture(t, func(c *docker.Config) { c.Advertise, c.Network = "127.0.0.1", shared })
		in := f.start(runtimetest.Sample("S1"))
		if !strings.HasPrefix(in.Address, "127.0.0.1:") {
			t.Errorf("address is %s", in.Address)
		}
		get(in)
		for port, bindings := range f.inspect("S1").NetworkSettings.Ports {
			for _, b := range bindings {
				if b.HostIP != "127.0.0.1" {
					t.Errorf("port %s is open at %s", port, b.HostIP)
				}
			}
		}
		f.end() // and a successor finds the same
		again := run(t, f.cfg)
		all, err := again.List(t.Context())
		if err != nil || len(all) != 1 || all[0].Address != in.Address {
			t.Errorf("the successor finds %+v, %v", all, err)
		}
	})
}

// Agents that share an engine see only their own containers.
func TestRuntime_HostsOnOneEngineAreStrangers(t *testing.T) {
	one := newFixture(t)
	cfg := one.cfg
	cfg.Host = "host-2"
	two := run(t, cfg)
	one.start(runtimetest.Sample("S1"))
	two.start(runtimetest.Sample("S2"))
	if a, b := one.names(), two.names(); !slices.Equal(a, []string{"S1"}) || !slices.Equal(b, []string{"S2"}) {
		t.Errorf("host-1 has %v, host-2 has %v", a, b)
	}
	if err := errors.Join(two.Stop(t.Context(), "S1", 0), two.Forget(t.Context(), "S1")); err != nil {
		t.Fatal(err)
	}
	if !one.inspect("S1").State.Running {
		t.Error("host-2 stopped the container of host-1")
	}
	if _, err := two.Start(t.Context(), runtimetest.Sample("S1"), runtimetest.Token); !errors.Is(err, agent.ErrExists) || !strings.Contains(err.Error(), "host-2") {
		t.Errorf("got %v", err)
	}
}

// An agent that dies between create and start leaves a container that never ran.
func TestRuntime_WhatWasNeverStartedIsInNobodysWay(t *testing.T) {
	f := newFixture(t)
	f.end()
	leave := func(name string) {
		_, err := dockertest.Engine.ContainerCreate(t.Context(), &container.Config{Image: dockertest.Image, Labels: map[string]string{
			docker.LabelCluster: f.cfg.Cluster, docker.LabelHost: f.cfg.Host, docker.LabelInstance: name,
		}}, nil, &network.NetworkingConfig{}, nil, f.container(name))
		if err != nil {
			t.Fatal(err)
		}
	}
	leave("S1")
	again := run(t, f.cfg)
	testkit.Eventually(t, func() error {
		if _, err := dockertest.Engine.ContainerInspect(t.Context(), f.container("S1")); err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
	leave("S2")
	if names := again.names(); len(names) != 0 {
		t.Errorf("listed: %v", names)
	}
	again.start(runtimetest.Sample("S2"))
}

func TestRuntime_ALimitIsNamedAsTheCauseOfADeath(t *testing.T) {
	f := newFixture(t)
	spec := runtimetest.Shell("S1", `x=0123456789; while true; do x="$x$x"; done`)
	spec.Limits.Memory = 32 << 20
	f.start(spec)
	testkit.Eventually(t, func() error { return f.reported("S1") })
	if d := f.deaths[0].Detail; !strings.Contains(d, "memory") {
		t.Errorf("detail is %q", d)
	}
}

// spoke tells whether an instance's log has anything in it.
func (f *fixture) spoke(name string) error {
	logs, err := dockertest.Engine.ContainerLogs(f.t.Context(), f.inspect(name).ID, container.LogsOptions{ShowStdout: true})
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = logs.Read(make([]byte, 1))
	return err
}

// A death is explained by what is known of it, and by nothing else.
func TestRuntime_ReportsHowAnInstanceEnded(t *testing.T) {
	f := newFixture(t)
	serial := 0
	how := func(script, want string, end func(name string)) {
		t.Helper()
		serial++
		name := fmt.Sprint("S", serial)
		f.start(runtimetest.Shell(name, script))
		end(name)
		testkit.Eventually(t, func() error { return f.reported(name) })
		f.mu.Lock()
		defer f.mu.Unlock()
		if got := f.deaths[serial-1].Detail; got != want {
			t.Errorf("%s: it says %q, want %q", script, got, want)
		}
	}
	byItself := func(string) {}
	signal := func(s string) func(string) {
		return func(name string) {
			testkit.Eventually(t, func() error { return f.spoke(name) })
			if err := dockertest.Engine.ContainerKill(t.Context(), f.inspect(name).ID, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	const info, wrong = `echo 'time=2026-01-01T00:00:00Z level=INFO msg="replica is ready"'; `, `echo 'time=2026-01-01T00:00:00Z level=ERROR msg="no disk"'; `
	how("exit 0", "exit status 0", byItself)
	how(info+"echo no such database; exit 3", "exit status 3: no such database", byItself)
	how(info+wrong+"exit 1", `exit status 1: time=2026-01-01T00:00:00Z level=ERROR msg="no disk"`, byItself)
	how(info+"exit 1", "exit status 1", byItself)
	how("echo too many; exit 255", "exit status 255: too many", byItself)
	how("echo copying failed; while true; do :; done", "exit status 137 (signal: killed); perhaps by its limit of memory", signal("SIGKILL"))
	how("echo copying failed; exit 143", "exit status 143 (signal: terminated)", byItself)
}

// Two lives of a container are two instances, even if somebody's hand is faster
// than ours.
func TestRuntime_AContainerThatSomebodyRestartsHasDied(t *testing.T) {
	f := newFixture(t)
	in := f.start(runtimetest.Sample("S1"))
	if err := dockertest.Engine.ContainerRestart(t.Context(), f.container("S1"), container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, func() error { return f.reported("S1") })
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.deaths[0]; d.PID != in.PID || !d.Started.Equal(in.Started) || d.Running {
		t.Errorf("told: %+v, started as %+v", d, in)
	}
}

func TestRuntime_APausedContainerCanBeStopped(t *testing.T) {
	f := newFixture(t)
	f.start(runtimetest.Sample("S1"))
	if err := dockertest.Engine.ContainerPause(t.Context(), f.container("S1")); err != nil {
		t.Fatal(err)
	}
	if all, err := f.List(t.Context()); err != nil || !all[0].Running {
		t.Errorf("listed as %+v, %v", all, err)
	}
	if err := errors.Join(f.Stop(t.Context(), "S1", 0), f.Forget(t.Context(), "S1")); err != nil {
		t.Fatal(err)
	}
}

func TestRuntime_ExplainsWhatIsWrongWithAnImage(t *testing.T) {
	f := newFixture(t)
	refuse := func(spec events.InstanceSpec, want string) {
		t.Helper()
		if _, err := f.Start(t.Context(), spec, runtimetest.Token); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if names := f.names(); len(names) != 0 {
			t.Errorf("listed: %v", names)
		}
	}
	spec := runtimetest.Sample("S1")
	spec.Image = "127.0.0.1:1/nobody/has:this"
	refuse(spec, "image 127.0.0.1:1/nobody/has:this is not on this host and cannot be pulled")
	// The first process of the container finds out, and it ends with that.
	spec.Image, spec.Command = "", []string{"/no/such/command"}
	f.start(spec)
	testkit.Eventually(t, func() error {
		all, err := f.List(t.Context())
		if err != nil || len(all) != 1 || all[0].Running || !strings.Contains(all[0].Detail, "/no/such/command") {
			return fmt.Errorf("listed as %+v, %v", all, err)
		}
		return nil
	})
	testkit.Must(t, f.Forget(t.Context(), "S1"))
	bare := f.cfg
	bare.Image = ""
	f = run(t, bare)
	refuse(runtimetest.Sample("S1"), "--image")
	bare.ShardImage = ""
	f = run(t, bare)
	refuse(runtimetest.Shard("D1", "v1"), "--shard-image")
}

// Two clusters of one name on one engine: neither sees, stops or uses what the other's is.
func TestRuntime_LeavesAnotherClusterOfItsNameAlone(t *testing.T) {
	one := newFixture(t, func(cfg *docker.Config) { cfg.ClusterIDs = []string{"a"} })
	spec := runtimetest.Sample("S1")
	spec.Kind, spec.Volume = events.KindShard, "v1"
	one.start(spec)
	cfg := one.cfg
	cfg.ClusterIDs = []string{"b"}
	two := run(t, cfg)
	if names := two.names(); len(names) != 0 {
		t.Errorf("it lists %v", names)
	}
	testkit.Must(t, two.Stop(t.Context(), "S1", 0))
	testkit.Must(t, two.Forget(t.Context(), "S1"))
	if !one.inspect("S1").State.Running {
		t.Error("it stopped the other's")
	}
	for _, name := range []string{"S1", "S2"} { // the name, and the volume
		spec.Name = name
		if _, err := two.Start(t.Context(), spec, runtimetest.Token); err == nil || !strings.Contains(err.Error(), "another cluster of the name "+cfg.Cluster) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cfg.ClusterIDs = []string{"c", "a"} // the first one, on a bus that was wiped
	if names := run(t, cfg).names(); !slices.Equal(names, []string{"S1"}) {
		t.Errorf("its successor lists %v", names)
	}
}

func TestRuntime_FindsWhatWasRenamedByItsLabels(t *testing.T) {
	f := newFixture(t)
	in := f.start(runtimetest.Sample("S1"))
	testkit.Must(t, dockertest.Engine.ContainerRename(t.Context(), f.container("S1"), f.container("renamed")))
	if names := f.names(); !slices.Equal(names, []string{"S1"}) {
		t.Errorf("it lists %v", names)
	}
	if _, err := f.Start(t.Context(), runtimetest.Sample("S1"), runtimetest.Token); !errors.Is(err, agent.ErrExists) {
		t.Errorf("started again: %v", err)
	}
	testkit.Must(t, f.Stop(t.Context(), "S1", 0))
	testkit.Eventually(t, func() error { return f.reported("S1") })
	testkit.Must(t, f.Forget(t.Context(), "S1"))
	if names := f.names(); len(names) != 0 {
		t.Errorf("after its end it lists %v", names)
	}
	if again := f.start(runtimetest.Sample("S1")); again.PID == in.PID {
		t.Error("it was not started again")
	}
}

// The first process of a container is the engine's: it reaps orphans.
func TestRuntime_ContainersHaveAReaper(t *testing.T) {
	f := newFixture(t)
	f.start(runtimetest.Sample("S1"))
	top, err := dockertest.Engine.ContainerTop(t.Context(), f.container("S1"), []string{"-o", "pid,comm"})
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Processes) != 2 || !strings.Contains(fmt.Sprint(top.Processes[0]), "init") {
		t.Errorf("it runs %v", top.Processes)
	}
}
