package setup_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/internal/testkit"
)

// withEngine runs true with an engine, with more variables.
func withEngine(t *testing.T, env ...string) (out string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "with-engine.sh", "--or-skip", "true")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"CI", "DOCKER_HOST", "RINGWAY_SHARD_BASE"}, name)
	}), env...)
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("it does not end: %s", b)
	}
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func TestWithEngine_SkipsNothingInCI(t *testing.T) {
	none := "DOCKER_HOST=unix:///nonexistent"
	if out, exit := withEngine(t, none, "CI=true"); exit == 0 || !strings.Contains(out, "DOCKER_HOST") {
		t.Errorf("in CI: exit %d: %s", exit, out)
	}
	if out, exit := withEngine(t, none); exit != 0 || !strings.Contains(out, "skipped") {
		t.Errorf("elsewhere: exit %d: %s", exit, out)
	}
}

// One that a test has ended may just be starting again when the tests are through.
func TestWithEngine_EndsAnEngineThatHasNoPidFileYet(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		t.Skip("an engine is brought only for root on Debian")
	}
	dir := t.TempDir()
	for name, script := range map[string]string{
		"docker": `case "$1" in version) test -e "$STATE/up";; esac`,
		"dockerd": `while [ "$1" != --pidfile ]; do shift; done
touch "$STATE/up"
sleep 2
trap 'touch "$STATE/ended"; exit' TERM
echo $$ >"$2"
while :; do sleep 0.1; done`,
	} {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	out, exit := withEngine(t, "PATH="+dir+":"+os.Getenv("PATH"), "STATE="+dir, "XDG_CACHE_HOME="+dir)
	if exit != 0 {
		t.Errorf("exit %d: %s", exit, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Errorf("the engine was not asked to end: %v", err)
	}
}
