package process

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"ringway/agent"
	"ringway/events"
)

// A death is explained by what is known of it, and by nothing else.
func TestRun_ReportsHowAnInstanceEnded(t *testing.T) {
	r := open(t, testConfig(t), nil)
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	deaths, ended := make(chan agent.Instance, 1), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func(in agent.Instance) { deaths <- in }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	serial := 0
	start := func(command ...string) agent.Instance {
		t.Helper()
		serial++
		in, err := r.Start(t.Context(), spec(fmt.Sprint("S", serial), command...), events.Token{})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	f := func(script, want string) {
		t.Helper()
		start("/bin/sh", "-c", script)
		if in := <-deaths; in.Detail != want {
			t.Errorf("%s: it says %q, want %q", script, in.Detail, want)
		}
	}
	const info, wrong = `echo 'time=2026-01-01T00:00:00Z level=INFO msg="replica is ready"'; `, `echo 'time=2026-01-01T00:00:00Z level=ERROR msg="no disk"'; `
	f("exit 0", "exit status 0")
	f(info+"exit 0", "exit status 0")
	f("exit 3", "exit status 3")
	f(info+"echo no such database; exit 3", "exit status 3: no such database")
	f(info+wrong+"exit 1", `exit status 1: time=2026-01-01T00:00:00Z level=ERROR msg="no disk"`)
	f(info+"exit 1", "exit status 1")
	f(`echo '{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"copying failed"}'; exit 1`, "exit status 1")
	f("echo level=INFO is not ours; exit 1", "exit status 1: level=INFO is not ours")
	f("echo copying; kill -9 $$", "exit status 137 (signal: killed)")
	f("echo copying; kill -TERM $$", "exit status 143 (signal: terminated)")
	f("echo too many; exit 255", "exit status 255: too many")

	// One that is ours runs by itself, as shard servers do.
	in := start()
	log, err := os.OpenFile(r.logPath(in.Spec.Name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.WriteString("copying failed\n"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(in.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if in := <-deaths; !strings.HasPrefix(in.Detail, "signal: killed") || strings.Contains(in.Detail, "copying") {
		t.Errorf("it says %q", in.Detail)
	}
}
