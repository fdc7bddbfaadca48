package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringway/cli/up/supervise"
	"ringway/internal/statedir"
	"ringway/internal/testkit"
)

// noEngine is a stack on a machine without Docker.
func noEngine(t *testing.T) (*stack, *testkit.Buffer) {
	out := &testkit.Buffer{}
	s := newStack(t.TempDir(), tools{missing: "no Docker engine answers"})
	s.out, s.err = out, out
	return s, out
}

func there(t *testing.T, path string, want bool) {
	t.Helper()
	if _, err := os.Stat(path); (err == nil) != want {
		t.Errorf("%s: %v, want it there: %t", path, err, want)
	}
}

func TestClean_LeavesWhatARunningClusterHas(t *testing.T) {
	s, out := noEngine(t)
	data, err := supervise.OpenData(t.Context(), s.data(), func() {})
	testkit.Must(t, err)
	kept := data.Path("bus", "written")
	testkit.Must(t, os.WriteFile(kept, nil, 0o600))

	err = s.clean(t.Context(), true, nil)
	if pid := fmt.Sprintf("`kill %d`", os.Getpid()); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), pid) {
		t.Errorf("while it runs: %v; want %s", err, pid)
	}
	there(t, kept, true)
	testkit.Must(t, s.down(t.Context(), false))
	s.reportProcesses()
	if !strings.Contains(out.String(), "child processes runs on "+s.data()) {
		t.Errorf("down printed %q", out)
	}

	testkit.Must(t, data.Close())
	testkit.Must(t, s.clean(t.Context(), true, nil))
	there(t, s.data(), false)
	testkit.Must(t, s.clean(t.Context(), true, nil)) // there is nothing any more
}

// Roles that were started one by one have no lock of `ringway up` over them.
func TestClean_LeavesWhatARoleHas(t *testing.T) {
	for _, name := range []string{"bus/lock", "hosts/host-1/agent.lock", "hosts/host-1/volumes/v1/lock"} {
		s, _ := noEngine(t)
		path := filepath.Join(s.data(), name)
		testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		lock, err := statedir.Take(t.Context(), filepath.Dir(path), filepath.Base(path), 0)
		testkit.Must(t, err)
		if err := s.clean(t.Context(), true, nil); !errors.Is(err, errInUse) {
			t.Errorf("%s: %v", name, err)
		}
		there(t, path, true)
		testkit.Must(t, lock.Close())
		testkit.Must(t, s.clean(t.Context(), true, nil))
		there(t, s.data(), false)
	}
}

func TestClean_NamesAllBeforeItAsks(t *testing.T) {
	s, out := noEngine(t)
	testkit.Must(t, os.MkdirAll(s.data(), 0o750))
	s.engine = "20.10"
	if err := s.clean(t.Context(), false, strings.NewReader("no\n")); err == nil {
		t.Error("no was taken for yes")
	}
	there(t, s.data(), true)
	for _, want := range []string{s.cluster, "volumes", s.data(), s.image, s.shardImage} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it asks %q, without %s", out, want)
		}
	}
	s.engine = ""
	testkit.Must(t, s.clean(t.Context(), false, strings.NewReader("yes\n")))
	there(t, s.data(), false)
}
