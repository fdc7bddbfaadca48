package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/internal/testkit"
)

func TestUp_RefusesAConfigurationWithAFault(t *testing.T) {
	t.Parallel()
	e := newTestStack(t)
	e.config = filepath.Join(t.TempDir(), "other.yaml")
	f := func(text, want string) {
		t.Helper()
		if text != "" {
			testkit.Must(t, os.WriteFile(e.config, []byte(text), 0o644))
		}
		if err := e.stack.up(t.Context()); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
		if ids := e.docker("ps", "-aq", "--filter", "name="+e.cluster); ids != "" {
			t.Fatalf("%q: started: %s", text, ids)
		}
	}
	f("", e.config+": no such file")
	f("services:\n  web:\n    replica: 4\n", e.config+`:3:5: unknown key "replica"; did you mean "replicas"?`)
	f("tables: {StudT: {engine: oracle}}\n", e.config+":1:26: engine: want auto")
	testkit.Must(t, os.WriteFile(e.config, []byte("services: {web: {replicas: 4}}\n"), 0o644))
	if err := e.checkConfig(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAwait_ReportsTheLastLineOfARoleThatEnded(t *testing.T) {
	t.Parallel()
	e := newTestStack(t)
	testkit.Must(t, e.makeImage(t.Context()))
	e.docker("run", "-d", "--name", e.cluster+"-controller", "--network", "none", "--restart", "unless-stopped",
		"--label", "com.docker.compose.project="+e.cluster, "--label", "com.docker.compose.service=controller",
		e.image, "controller", "--config", "/missing.yaml")
	testkit.Within(t, 30*time.Second, func() error {
		words := e.ended(t.Context())
		if i := slices.IndexFunc(words, func(w string) bool {
			return strings.HasPrefix(w, "controller ended: configuration: open /missing.yaml: no such file")
		}); i < 0 {
			return fmt.Errorf("got %q", words)
		}
		return nil
	})
}

func TestUp_RefusesAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	e := newTestStack(t)
	l, err := net.Listen("tcp", "127.0.0.1:"+e.admin)
	testkit.Must(t, err)
	err = e.stack.up(t.Context())
	if want := "port " + e.admin + " of 127.0.0.1 is taken by another program, and nothing was started; choose another with RINGWAY_ADMIN_PORT"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if ids := e.docker("ps", "-aq", "--filter", "name="+e.cluster); ids != "" {
		t.Errorf("started: %s", ids)
	}
	testkit.Must(t, l.Close())
	testkit.Must(t, e.checkPorts(t.Context()))

	testkit.Must(t, e.makeImage(t.Context()))
	name := e.cluster + "-router"
	t.Cleanup(func() { _, _ = output(context.Background(), "docker", "rm", "-f", name) }) // the tool does not know it
	e.docker("run", "-d", "--name", name, "--label", "com.docker.compose.project="+e.cluster, "-p", "127.0.0.1:"+e.http+":5000", e.image, "server", "--id", "S1")
	testkit.Must(t, e.checkPorts(t.Context())) // its own
	other := *e.stack
	other.cluster = "other"
	if err := other.checkPorts(t.Context()); err == nil || !strings.Contains(err.Error(), "container "+name+",") {
		t.Errorf("another cluster: %v", err)
	}
}
