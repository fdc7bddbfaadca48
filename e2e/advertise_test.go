package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// Two agents whose containers share no network stand for two hosts: the router,
// outside of both, reaches the containers at ports of the hosts.
func TestAdvertise_ContainersOnTwoNetworksServeOneRouter(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	if arch := c.docker("version", "--format", "{{.Server.Arch}}"); runtime.GOOS != "linux" || runtime.GOARCH != arch {
		t.Skipf("the roles run as processes here, and the image is for linux/%s", arch)
	}
	testkit.Must(t, c.helper(t.Context(), "images"))
	nets := []string{c.id + "-a", c.id + "-b"}
	for _, n := range nets {
		c.docker("network", "create", n)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.helper(ctx, "down"); err != nil {
			t.Error(err)
		}
		if _, err := docker(ctx, append([]string{"network", "rm"}, nets...)...); err != nil {
			t.Error(err)
		}
	})
	nats := strings.TrimPrefix(c.nats, "nats://")
	role(c, "bus", "--listen", nats, "--store", t.TempDir())
	role(c, "controller", "--nats", nats, "--expect-hosts", "2", "--replicas", "4")
	for i, n := range nets {
		role(c, "agent", "--nats", nats, "--host", fmt.Sprintf("host-%d", i+1), "--data", t.TempDir(),
			"--runtime", "docker", "--cluster", c.id, "--image", c.image, "--network", n, "--advertise", "127.0.0.1")
	}
	role(c, "router", "--nats", nats, "--listen", strings.TrimPrefix(c.http, "http://"), "--admin", strings.TrimPrefix(c.admin, "http://"))

	eventually(t, 2*time.Minute, func() error {
		if names, err := c.rep(); err != nil || len(names) != 4 {
			return fmt.Errorf("%v serve (%v)", names, err)
		}
		return nil
	})
	if a, b := len(c.runningOn("host-1")), len(c.runningOn("host-2")); a != 2 || b != 2 {
		t.Errorf("host-1 runs %d, host-2 runs %d", a, b)
	}
	served := map[string]bool{}
	eventually(t, 20*time.Second, func() error {
		code, body, err := call(http.MethodGet, c.http+"/home", "")
		if err != nil || code != http.StatusOK {
			t.Fatalf("/home: %d %s %v", code, body, err)
		}
		if served[body] = true; len(served) < 4 {
			return fmt.Errorf("%d of 4 have answered", len(served))
		}
		return nil
	})
	end := trafficOn(&c.api)
	gone := c.runningOn("host-1")[:1]
	c.docker("kill", c.instance(gone[0]))
	out, restored := without(c, gone, 4)
	t.Logf("docker kill at a published port: out of rotation after %s, restored after %s", ms(out), ms(restored))
	end()
	names, err := c.rep()
	if running := c.running(); err != nil || len(running) != 4 || slices.Contains(running, gone[0]) || len(names) != 4 {
		t.Errorf("%v serve, %v run (%v)", names, running, err)
	}
}

// role runs a role as a process until the test ends.
func role(c *containers, args ...string) {
	c.t.Helper()
	cmd := exec.Command(buildRingway(c.t, ""), args...)
	cmd.Env = os.Environ()
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "level=ERROR") {
				fmt.Fprintln(c.out, lines.Text())
			}
		}
		_ = cmd.Wait() // ended by us
	}()
	c.t.Cleanup(func() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(45 * time.Second):
			_ = cmd.Process.Kill()
			<-done
			c.t.Errorf("%s did not end by SIGTERM (%v)", args[0], err)
		}
	})
}
