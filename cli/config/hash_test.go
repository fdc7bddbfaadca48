package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

func TestServiceConfig_IsTheSameOnlyForTheSameRunAndWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ringway.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := func(id string, args ...string) string {
		t.Helper()
		var f Flags
		cmd := &cobra.Command{}
		f.Add(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		w, err := f.ServiceConfig(cmd, Run{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		return w.ConfigHash
	}
	write("services: {web: {replicas: 4}}\n")
	first := digest("r1", "--config", file, "--replicas", "5")
	if first == "" || first != digest("r1", "--config", file, "--replicas", "5") {
		t.Error("one configuration has two hashes")
	}
	for name, other := range map[string]string{
		"another run":  digest("r2", "--config", file, "--replicas", "5"),
		"another flag": digest("r1", "--config", file, "--replicas", "6"),
		"fewer flags":  digest("r1", "--config", file),
	} {
		if other == first {
			t.Errorf("%s has the same digest", name)
		}
	}
	write("services: {web: {replicas: 3}}\n")
	if digest("r1", "--config", file, "--replicas", "5") == first {
		t.Error("another file has the same digest")
	}
	if d := digest("r1"); d != "" {
		t.Errorf("nothing configured has hash %q", d)
	}
}
