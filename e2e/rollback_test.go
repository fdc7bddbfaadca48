package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

// logsOf finds the directories of the shards' logs in the store of the bus.
func logsOf(t *testing.T, data string) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(data, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), events.LogStream(events.DefaultTable, "")) {
			dirs = append(dirs, path)
			return filepath.SkipDir
		}
		return err
	})
	if err != nil || len(dirs) != dbShards {
		t.Fatalf("logs of %d shards in %s: %v", len(dirs), data, err)
	}
	return dirs
}

// writeFor writes for a while.
func (s *setWriters) writeFor(d time.Duration) {
	w := newWork()
	w.each(8, s.work(w.ctx))
	wait(w.ctx, d)
	w.end()
}

// recoverAll waits until every shard has halted, and orders its recovery.
func (d *faultDB) recoverAll() {
	d.t.Helper()
	eventually(d.t, 2*time.Minute, func() error {
		lines, err := d.shards()
		if err != nil {
			return err
		}
		if len(lines) != dbShards {
			return fmt.Errorf("%d shards are known", len(lines))
		}
		for _, s := range lines {
			for _, r := range s.Replicas {
				if r.State != events.ReplicaHalted && r.State != events.ReplicaQuarantined {
					return fmt.Errorf("%s on %s is %s", s.Shard, r.Server, r.State)
				}
			}
		}
		return nil
	})
	for i := range dbShards {
		eventually(d.t, time.Minute, func() error {
			if out, errs, exit := d.run("shards", "recover", events.DefaultTable+"."+shardName(i), "--yes"); exit != 0 {
				return fmt.Errorf("recover %s: exit %d: %s%s", shardName(i), exit, out, errs)
			}
			return nil
		})
	}
}

// An older copy of all logs under newer databases: every replica is ahead of
// its log. They halt, keep all they have, and a person's order goes on from
// there: nothing acknowledged is missing.
func TestDB_LogsThatWereRolledBackHaltAndAreRecovered(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, dbOptions{})
	set := &setWriters{client: newDBClient(func() string { return d.http })}
	set.writeFor(time.Second)
	d.settled()
	d.stop()
	older := filepath.Join(t.TempDir(), "older")
	for i, dir := range logsOf(t, d.data) {
		if err := os.CopyFS(filepath.Join(older, shardName(i)), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	d.boot(t)
	set.writeFor(time.Second)
	d.settled()
	d.stop()
	for i, dir := range logsOf(t, d.data) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(older, shardName(i)))); err != nil {
			t.Fatal(err)
		}
	}
	d.boot(t)
	d.recoverAll()
	set.writeFor(time.Second)
	report(t, set.check(t, d.settled(), nil))
}

// Logs that somebody has made anew, while all run.
func TestDB_LogsThatWereMadeAnewHaltAndAreRecovered(t *testing.T) {
	t.Parallel()
	d := startDatabase(t, dbOptions{})
	set := &setWriters{client: newDBClient(func() string { return d.http })}
	set.writeFor(time.Second)
	d.settled()
	lines, err := d.shards()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range lines {
		id := events.LogID{Table: s.Table, Shard: s.Shard, Incarnation: s.Incarnation}
		if err := conn.DeleteLog(ctx, id); err != nil {
			t.Fatal(err)
		}
		id.Incarnation = "another"
		if _, err := conn.CreateLog(ctx, id, 0); err != nil {
			t.Fatal(err)
		}
	}
	d.recoverAll()
	set.writeFor(time.Second)
	report(t, set.check(t, d.settled(), nil))
}
