package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two agents whose containers share no network stand for two hosts: the router,
// outside of both, reaches the containers at ports of the hosts.
func TestAdvertise_ContainersOnTwoNetworksServeOneRouter(t *testing.T) {
	t.Parallel()
	e := newE2E(t)
	if runtime.GOOS != "linux" || runtime.GOARCH != e.arch {
		t.Skipf("the roles run as processes here, and the image is for linux/%s", e.arch)
	}
	if err := e.makeImages(t.Context()); err != nil {
		t.Fatal(err)
	}
	nets := []string{e.cluster + "-a", e.cluster + "-b"}
	for _, n := range nets {
		e.docker("network", "create", n)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.removeInstances(ctx); err != nil {
			t.Error(err)
		}
		if _, err := output(ctx, "docker", append([]string{"network", "rm"}, nets...)...); err != nil {
			t.Error(err)
		}
	})
	nats := "127.0.0.1:" + e.nats
	role(e, "bus", "--listen", nats, "--store", t.TempDir())
	role(e, "controller", "--nats", nats, "--expect-hosts", "2", "--replicas", "4")
	for i, n := range nets {
		role(e, "agent", "--nats", nats, "--host", fmt.Sprintf("host-%d", i+1), "--data", t.TempDir(),
			"--runtime", "docker", "--cluster", e.cluster, "--image", e.image, "--network", n, "--advertise", "127.0.0.1")
	}
	role(e, "router", "--nats", nats, "--listen", "127.0.0.1:"+e.http, "--admin", "127.0.0.1:"+e.admin)

	e.eventually(2*time.Minute, func() error {
		if names, err := e.rep(); err != nil || len(names) != 4 {
			return fmt.Errorf("%v serve (%v)", names, err)
		}
		return nil
	})
	if a, b := len(e.running("host-1")), len(e.running("host-2")); a != 2 || b != 2 {
		t.Errorf("host-1 runs %d, host-2 runs %d", a, b)
	}
	served := map[string]bool{}
	e.eventually(20*time.Second, func() error {
		code, body, err := e.call(http.MethodGet, "/home", "")
		if err != nil || code != http.StatusOK {
			t.Fatalf("/home: %d %s %v", code, body, err)
		}
		if served[body] = true; len(served) < 4 {
			return fmt.Errorf("%d of 4 have answered", len(served))
		}
		return nil
	})
	l := e.load()
	gone := e.running("host-1")[:1]
	e.docker("kill", e.instance(gone[0]))
	out, restored := e.without(gone, 4)
	t.Logf("docker kill at a published port: out of rotation after %s, restored after %s", ms(out), ms(restored))
	l.end(t)
	names, err := e.rep()
	if running := e.running(""); err != nil || len(running) != 4 || slices.Contains(running, gone[0]) || len(names) != 4 {
		t.Errorf("%v serve, %v run (%v)", names, running, err)
	}
}

// role runs a role of the binary in the image as a process until the test ends.
func role(e *e2e, args ...string) {
	e.t.Helper()
	cmd := exec.Command(filepath.Join(e.root, "bin", "image", "ringway"), args...)
	cmd.Env = os.Environ()
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "level=ERROR") {
				fmt.Fprintln(e.out, lines.Text())
			}
		}
		_ = cmd.Wait() // ended by us
	}()
	e.t.Cleanup(func() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(45 * time.Second):
			_ = cmd.Process.Kill()
			<-done
			e.t.Errorf("%s did not end by SIGTERM (%v)", args[0], err)
		}
	})
}
