package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spf13/cobra"

	"ringway/cli/console"
	"ringway/events"
)

func TestConfig_TablesConfigureTheirServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ringway.yaml")
	text := "tables:\n  StudT:\n    engine: sqlite\n    env: {LEVEL: debug}\n    image: shard:2\n    limits: {memory: 1GiB}\nservices: {web: {replicas: 4}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var f Flags
	cmd := &cobra.Command{}
	f.Add(cmd)
	if err := cmd.ParseFlags([]string{"--config", file}); err != nil {
		t.Fatal(err)
	}
	w, err := f.ServiceConfig(cmd, Run{ID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Servers) != 1 || w.Servers[0].Table != "StudT" || w.Servers[0].ConfigHash != w.ConfigHash || w.ConfigHash == "" {
		t.Fatalf("configurations are %+v", w)
	}
	got, err := w.Servers[0].Overlay(events.ServerSpec{Engine: "mysql", Limits: events.Limits{CPUs: 2}})
	want := events.ServerSpec{Engine: "sqlite", Env: map[string]string{"LEVEL": "debug"}, Image: "shard:2", Limits: events.Limits{Memory: 1 << 30}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if spec, err := w.Overlay(events.DefaultServiceSpec()); err != nil || spec.Replicas != 4 || spec.Image != "" || spec.Env != nil {
		t.Errorf("the service became %+v, %v", spec, err)
	}
}

func TestConfig_FaultsOfTablesHaveTheirPlace(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := ParseConfig("f.yaml", []byte(text))
		if err == nil || err.Error() != want || console.ExitCode(err) != console.ExitUsage {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	of := func(s string) string { return "tables:\n  StudT:\n    " + s + "\n" }
	f("table: {}", `f.yaml:1:1: unknown key "table"; did you mean "tables"?`)
	f("tables: 3", `f.yaml:1:9: tables: want a mapping, like {key: value}, got the number 3`)
	f("tables: {1x: {}}", `f.yaml:1:10: table "1x" is no identifier; use 1 to 48 letters, digits or '_', beginning with a letter`)
	f(of("replicas: 3"), `f.yaml:3:5: unknown key "replicas"; use engine, env, image, limits`)
	f(of("engine: oracle"), `f.yaml:3:13: engine: want auto, mysql or sqlite, got the text "oracle"`)
	f(of("image: --privileged"), `f.yaml:3:12: image: "--privileged" is no reference; write it like nginx:1.27 or registry.example/team/app@sha256:…`)
	f(of("limits: {memory: 1}"), `f.yaml:3:22: limits.memory: 1 bytes are too few; use at least 6291456 (6MiB)`)
	f(of("env: {A: 1}"), `f.yaml:3:14: env.A: want text; put it in quotes, got the number 1`)
}
