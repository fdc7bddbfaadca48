package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringway/internal/testkit"
)

func TestChoose(t *testing.T) {
	has := tools{engine: "20.10", compose: []string{"docker-compose"}}
	none := tools{missing: "no Docker engine answers (docker: not found)"}
	f := func(wanted string, flags []string, there tools, docker bool, why string) {
		t.Helper()
		c, err := choose(wanted, flags, there)
		if err != nil || c.docker != docker || !strings.Contains(c.why, why) {
			t.Errorf("%q %v: got %+v, %v; want docker=%v because %q", wanted, flags, c, err, docker, why)
		}
	}
	f("", nil, has, true, "Docker 20.10 answers")
	f("", nil, none, false, "no Docker engine answers")
	f("", []string{"--hosts", "3"}, has, false, "--hosts 3 is of `ringway up`")
	f("", []string{"--hosts", "3"}, none, false, "--hosts 3")
	f("process", nil, has, false, "RINGWAY_RUNTIME")
	f("process", []string{"--hosts", "3"}, has, false, "RINGWAY_RUNTIME")
	f("docker", nil, has, true, "Docker")

	refuse := func(wanted string, flags []string, there tools, why string) {
		t.Helper()
		if c, err := choose(wanted, flags, there); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q %v: got %+v, %v; want %q", wanted, flags, c, err, why)
		}
	}
	refuse("docker", nil, none, "no Docker engine answers")
	refuse("docker", []string{"--hosts", "3"}, has, "--hosts is a flag of `ringway up`")
	refuse("podman", nil, has, "use docker or process")
}

func TestLook_AnEngineThatIsNotThereIsNone(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	if got := detectTools(t.Context()); got.engine != "" || got.missing == "" || strings.Contains(got.missing, "\n") {
		t.Errorf("got %+v", got)
	}
	t.Setenv("PATH", t.TempDir())
	if got := detectTools(t.Context()); got.engine != "" || got.missing == "" {
		t.Errorf("without docker: %+v", got)
	}
}

// docker-compose is a Python program that took 6 s on a busy machine; ours hangs.
func TestLook_DoesNotWaitForTheOldCompose(t *testing.T) {
	dir := t.TempDir()
	for name, script := range map[string]string{
		"docker":         `[ "$1" = version ] && echo 20.10.24 amd64`,
		"docker-compose": "exec /bin/sleep 60",
	} {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	t.Setenv("PATH", dir)
	got := detectTools(t.Context())
	if got.missing != "" || got.engine != "20.10.24" || !slices.Equal(got.compose, []string{"docker-compose"}) {
		t.Errorf("got %+v", got)
	}
}
