package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

// containers is a cluster on containers of the real engine, with a name of its
// own, started as `go tool task up` does it. Nothing of it is left at the end.
type containers struct {
	api
	image, shardImage string
	env               []string // of the helper
	out               *syncBuffer
}

// containerHosts are those of compose.yaml.
var containerHosts = []string{"host-1", "host-2", "host-3"}

// full is `task e2e`; without it only what is quick is waited for.
var full = os.Getenv("RINGWAY_E2E") == "full" || long()

// newContainers is a cluster that is not started yet, with more variables for
// the helper. It has no t.Parallel of its own.
func newContainers(t *testing.T, env ...string) *containers {
	t.Helper()
	if _, err := docker(t.Context(), "version", "--format", "{{.Server.Version}}"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	c := &containers{api: api{t: t, id: "rwtest-" + strings.ToLower(rand.Text()[:8])}, out: &syncBuffer{}}
	c.image, c.shardImage = c.id+":test", c.id+"-shard:test"
	http, admin, nats := freePort(t), freePort(t), freePort(t)
	c.http, c.admin, c.nats = "http://127.0.0.1:"+http, "http://127.0.0.1:"+admin, "nats://127.0.0.1:"+nats
	c.env = append([]string{"RINGWAY_RUNTIME=docker", "RINGWAY_CLUSTER=" + c.id, "RINGWAY_IMAGE=" + c.image, "RINGWAY_SHARD_IMAGE=" + c.shardImage,
		"RINGWAY_HTTP_PORT=" + http, "RINGWAY_ADMIN_PORT=" + admin, "RINGWAY_NATS_PORT=" + nats}, env...)
	t.Cleanup(c.clean)
	return c
}

func (c *containers) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if c.t.Failed() {
		c.t.Logf("up wrote:\n%s", c.out)
		ids, _ := docker(ctx, "ps", "-aq", "--filter", "label=com.docker.compose.project="+c.id)
		for _, id := range strings.Fields(ids) {
			logs, _ := exec.CommandContext(ctx, "docker", "logs", "--tail", "40", id).CombinedOutput()
			name, _ := docker(ctx, "inspect", "--format", "{{.Name}}", id)
			c.t.Logf("%s:\n%s", name, logs)
		}
	}
	if err := c.helper(ctx, "down"); err != nil {
		c.t.Error(err)
	}
	for _, filter := range []string{"label=io.ringway.cluster=" + c.id, "label=com.docker.compose.project=" + c.id} {
		volumes, err := docker(ctx, "volume", "ls", "-q", "--filter", filter)
		if err == nil && volumes != "" {
			_, err = docker(ctx, append([]string{"volume", "rm"}, strings.Fields(volumes)...)...)
		}
		if err != nil {
			c.t.Error(err)
		}
	}
	// Layers stay: another test may be building on them.
	for _, image := range []string{c.shardImage, c.image} {
		if _, err := docker(ctx, "image", "rm", "-f", "--no-prune", image); err != nil {
			c.t.Error(err)
		}
	}
	for _, list := range [][]string{{"ps", "-aq", "--filter", "name=" + c.id}, {"network", "ls", "-q", "--filter", "name=" + c.id}, {"volume", "ls", "-q", "--filter", "name=" + c.id}} {
		if left, err := docker(ctx, list...); err != nil || left != "" {
			c.t.Errorf("docker %s: %s is left (%v)", strings.Join(list, " "), left, err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(testkit.Address(t))
	testkit.Must(t, err)
	return port
}

// helper runs a verb of the helper in ./compose, and keeps what it prints.
func (c *containers) helper(ctx context.Context, verb string) error {
	path := build(c.t, "ringway/compose", "")
	cmd := exec.CommandContext(ctx, path, verb)
	cmd.Dir, cmd.Env = repository(c.t), append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = c.out, c.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", verb, err, c.out)
	}
	return nil
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c *containers) up() {
	c.t.Helper()
	if err := c.helper(c.t.Context(), "up"); err != nil {
		c.t.Fatal(err)
	}
}

// docker runs a command of the engine's client.
func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var errs syncBuffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("docker %s: %w: %s", strings.Join(args[:min(2, len(args))], " "), err, &errs)
	}
	return strings.TrimSpace(string(out)), err
}

func (c *containers) docker(args ...string) string {
	c.t.Helper()
	out, err := docker(c.t.Context(), args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// role is the container of a role; its name depends on the compose tool.
func (c *containers) role(name string) string {
	c.t.Helper()
	id := c.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+c.id, "--filter", "label=com.docker.compose.service="+name)
	if id == "" || strings.Contains(id, "\n") {
		c.t.Fatalf("container of %s: %q", name, id)
	}
	return id
}

// instance is the container of a replica.
func (c *containers) instance(name string) string { return c.id + "-" + name }

// on implements fleet for a part of a test.
func (c *containers) on(t *testing.T) fleet {
	part := *c
	part.t = t
	return &part
}

// outside implements fleet.
func (c *containers) outside() *api { return &c.api }

// patience implements fleet.
func (c *containers) patience() time.Duration { return 90 * time.Second }

// running implements fleet.
func (c *containers) running() []string { return c.runningOn("") }

// runningOn are the replicas that run on a host; host "" is any.
func (c *containers) runningOn(host string) []string {
	c.t.Helper()
	args := []string{"ps", "--filter", "label=io.ringway.cluster=" + c.id, "--format", `{{.Label "io.ringway.instance"}}`}
	if host != "" {
		args = append(args, "--filter", "label=io.ringway.host="+host)
	}
	return strings.Fields(c.docker(args...))
}

// killInstance implements fleet.
func (c *containers) killInstance(name string) {
	c.t.Helper()
	c.docker("kill", c.instance(name))
}

// crashRole implements fleet. A crash, unlike docker kill, is for the engine to
// repair.
func (c *containers) crashRole(name string) {
	c.t.Helper()
	id := c.role(name)
	pid := c.docker("inspect", "--format", "{{.State.Pid}}", id)
	var n int
	_, err := fmt.Sscan(pid, &n)
	if err == nil {
		var p *os.Process
		if p, err = os.FindProcess(n); err == nil {
			err = p.Kill()
		}
	}
	if err != nil {
		c.t.Skipf("cannot end process %s of another: %v", pid, err)
	}
	eventually(c.t, time.Minute, func() error {
		if now := c.docker("inspect", "--format", "{{.State.Pid}}", id); now == pid || now == "0" {
			return fmt.Errorf("%s is not back", name)
		}
		return nil
	})
}

// pauseRole implements fleet.
func (c *containers) pauseRole(name string) (resume func()) {
	c.t.Helper()
	id := c.role(name)
	c.docker("pause", id)
	return func() { c.docker("unpause", id) }
}

// restart implements fleet.
func (c *containers) restart() {
	c.t.Helper()
	if err := c.helper(c.t.Context(), "down"); err != nil {
		c.t.Fatal(err)
	}
	if left := c.docker("ps", "-aq", "--filter", "name="+c.id) + c.docker("network", "ls", "-q", "--filter", "name="+c.id); left != "" {
		c.t.Errorf("left: %s", left)
	}
	c.up()
}

// find implements target.
func (c *containers) find(kind string) (ids []string) {
	filters := [][]string{{"label=com.docker.compose.project=" + c.id, "label=com.docker.compose.service=" + kind}}
	switch kind {
	case "shard":
		filters = [][]string{{"label=io.ringway.cluster=" + c.id, "label=io.ringway.volume"}}
	case "agent":
		filters = nil
		for _, host := range containerHosts {
			filters = append(filters, []string{"label=com.docker.compose.project=" + c.id, "label=com.docker.compose.service=" + host})
		}
	}
	for _, f := range filters {
		args := []string{"ps", "-q", "--filter", "status=running"}
		for _, one := range f {
			args = append(args, "--filter", one)
		}
		out, err := docker(c.t.Context(), args...)
		if err != nil {
			c.t.Log(err)
		}
		ids = append(ids, strings.Fields(out)...)
	}
	return ids
}

// kill implements target. The engine starts no role again after docker kill;
// the controller starts shard servers.
func (c *containers) kill(ctx context.Context, id string) bool {
	role := !slices.Contains(c.find("shard"), id)
	if !c.harm("kill", id) {
		return false
	}
	if role {
		wait(ctx, time.Second)
		c.harm("start", id)
	}
	return true
}

// pause implements target.
func (c *containers) pause(id string) (resume func()) {
	if !c.harm("pause", id) {
		return nil
	}
	return func() { c.harm("unpause", id) }
}

// maxPause implements target. Where there is time for it, the cluster may give
// somebody up.
func (c *containers) maxPause() time.Duration {
	if full {
		return 12 * time.Second
	}
	return 4 * time.Second
}

// harm reports whether the container was there for it. It does not end with the
// test's time: nobody shall stay paused.
func (c *containers) harm(verb, id string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := docker(ctx, verb, id); err != nil {
		c.t.Log(err) // it may have ended a moment ago
		return false
	}
	return true
}

// shardVolumes are the volumes of the shard servers.
func (c *containers) shardVolumes() []string {
	c.t.Helper()
	v := strings.Fields(c.docker("volume", "ls", "-q", "--filter", "label=io.ringway.cluster="+c.id))
	slices.Sort(v)
	return v
}

// volumeOf is the volume of a shard server.
func (c *containers) volumeOf(server string) string {
	c.t.Helper()
	return c.docker("inspect", "--format", `{{index .Config.Labels "io.ringway.volume"}}`, c.instance(server))
}

// init makes a table as a client of the course does.
func (c *containers) init(body string) {
	c.t.Helper()
	slow := http.Client{Timeout: 4 * time.Minute} // database servers make their files
	resp, err := slow.Post(c.http+"/init", "application/json", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close() // only the code counts
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("/init: %d", resp.StatusCode)
	}
}

// readyServers are the shard servers of a table whose replicas are all ready.
func (c *containers) readyServers(shards, replicas int) (names []string, err error) {
	lines, err := c.shards()
	if err != nil {
		return nil, err
	}
	if len(lines) != shards {
		return nil, fmt.Errorf("shards: %+v", lines)
	}
	for _, s := range lines {
		for _, r := range s.Replicas {
			if r.State != events.ReplicaReady {
				return nil, fmt.Errorf("%s is %s on %s: %s", s.Shard, r.State, r.Server, r.Detail)
			}
			names = append(names, r.Server)
		}
		if len(s.Replicas) != replicas {
			return nil, fmt.Errorf("%s has %d replicas", s.Shard, len(s.Replicas))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
