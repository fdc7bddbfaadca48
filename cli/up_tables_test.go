package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringway/cli/console"
	"ringway/events"
)

func TestUp_WithATableWaitsForItsShards(t *testing.T) {
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	s := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaCatchingUp, "STAND_WHOLE=" + whole}, "--table", table)
	s.shows("  replicas 5/5  shards 1/2  router ")
	if err := os.WriteFile(whole, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.ready()
	s.shows("  shards 2/2  router up")
	if l := s.lives("start"); !slices.ContainsFunc(l, func(l life) bool { return l.role == "controller" && strings.Contains(l.args, "--table "+table) }) {
		t.Errorf("the controller was not told: %v", l)
	}

	slow := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaCopying}, "--table", table)
	slow.shows("  shards 1/2  router up")
	slow.signal(os.Interrupt)
	slow.exit(console.ExitInterrupted, "interrupted")
	if slow.out.String() != "" {
		t.Errorf("it was called ready: %s", slow.out)
	}
}

// What needs a person is said, with what that person can do, and is not counted
// as if it were there.
func TestUp_NamesTheShardsThatItGoesOnWithout(t *testing.T) {
	t.Parallel() // it waits for its timeout, which has to be long enough for a start
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte("N: 1\nshards: [{id: sh1, low: 0, size: 9}, {id: sh2, low: 9, size: 9}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, t.TempDir(), []string{"STAND_SHARDS=" + events.ReplicaQuarantined}, "--table", table, "--start-timeout", "20s")
	s.ready()
	want := `  shards 1/2  router up
ringway: shard StudT.sh2 cannot be read, and writes to it are not confirmed: it is quarantined on Server0 (no luck today); see 'ringway shards', and 'ringway shards recover StudT.sh2'
ringway: 1 of 2 shards can be read and written
`
	s.wait(func() error {
		if !strings.HasSuffix(s.errs.String(), want) {
			return fmt.Errorf("want at the end of stderr %s", want)
		}
		return nil
	})
	s.signal(os.Interrupt)
	s.exit(console.ExitOK)
}
