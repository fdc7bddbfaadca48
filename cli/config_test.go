package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"ringway/cli/console"
	"ringway/events"
	"ringway/internal/testkit"
)

func TestController_FlagsWinOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("services:\n  web: {replicas: 4, algorithm: course, timeout: 9s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want func(*events.ServiceSpec), args ...string) {
		t.Helper()
		called := false
		w := Wiring{Controller: func(_ context.Context, o ControllerOptions) error {
			called = true
			spec := events.DefaultServiceSpec()
			want(&spec)
			got, err := o.Config.Overlay(events.DefaultServiceSpec())
			if err != nil || !reflect.DeepEqual(got, spec) {
				return errors.New("another specification")
			}
			return nil
		}}
		if code, _, errs := run(t, w, append([]string{"controller"}, args...)...); code != console.ExitOK || !called {
			t.Errorf("%v: code %d, %s", args, code, errs)
		}
	}
	f(func(*events.ServiceSpec) {})
	f(func(s *events.ServiceSpec) {
		s.Replicas, s.Algorithm, s.Slots, s.Timeout = 4, "course", 512, events.Duration(9*time.Second)
	}, "--config", file)
	f(func(s *events.ServiceSpec) { s.Replicas, s.Timeout = 9, events.Duration(9*time.Second) },
		"--config", file, "--replicas", "9", "--algorithm", "balanced")
}

func TestController_CheckRunsNothing(t *testing.T) {
	w := Wiring{Controller: func(context.Context, ControllerOptions) error {
		t.Error("the role was run")
		return nil
	}}
	file := filepath.Join(t.TempDir(), "f.yaml")
	f := func(text string, code int, want string) {
		t.Helper()
		testkit.Must(t, os.WriteFile(file, []byte(text), 0o600))
		if got, _, errs := run(t, w, "controller", "--check", "--config", file); got != code || errs != want {
			t.Errorf("%q: code %d, %q; want %d, %q", text, got, errs, code, want)
		}
	}
	f("services: {web: {replicas: 4}}", console.ExitOK, "")
	f("services:\n  web:\n    replica: 4\n", console.ExitUsage, "ringway: "+file+":3:5: unknown key \"replica\"; did you mean \"replicas\"?\n")
	f("tables: {StudT: {engine: oracle}}", console.ExitUsage, "ringway: "+file+":1:26: engine: want auto, mysql or sqlite, got the text \"oracle\"\n")
}
