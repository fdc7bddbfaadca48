package main

import (
	"strings"
	"testing"
)

func TestEngineConfig(t *testing.T) {
	f := func(machine, want string) {
		t.Helper()
		got, err := engineConfig([]byte(machine))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", machine, got, err, want)
		}
	}
	f(`{}`, `{}`)
	f(`{"data-root":"/var/lib/docker","storage-driver":"fuse-overlayfs","hosts":["fd://"]}`, `{"storage-driver":"fuse-overlayfs"}`)
	if _, err := engineConfig([]byte(`{`)); err == nil {
		t.Error("rubbish was taken")
	}
}

// A person who names an engine does not get another.
func TestWithEngine_WhereNoneCanBeHad(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	none := tools{missing: "no Docker engine answers"}
	f := func(ci string, orSkip bool, want string) {
		t.Helper()
		t.Setenv("CI", ci)
		err := withEngine(t.Context(), none, orSkip, []string{"false"})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("CI=%q orSkip=%v: got %v, want %q", ci, orSkip, err, want)
		}
	}
	f("", true, "")
	f("", false, "no Docker engine answers, and none can be brought: DOCKER_HOST names another")
	f("true", true, "none can be brought")
}

func TestWithEngine_ReportsHowTheCommandEnded(t *testing.T) {
	there := tools{engine: "20.10", compose: []string{"docker-compose"}}
	if err := withEngine(t.Context(), there, true, []string{"true"}); err != nil {
		t.Error(err)
	}
	if err := withEngine(t.Context(), there, true, []string{"false"}); err == nil {
		t.Error("a failed command counts as a good one")
	}
	if err := withEngine(t.Context(), there, true, nil); err == nil {
		t.Error("nothing was run")
	}
}
