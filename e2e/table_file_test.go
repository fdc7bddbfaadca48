package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringway/events"
)

const studentTable = `
N: 3
engine: sqlite
shards:
  - {id: sh1, low: 0, size: 100}
  - {id: sh2, low: 100, size: 100}
servers:
  Server0: [sh1, sh2]
  Server1: [sh1]
  Server2: [sh2]
`

// What `up` calls ready is ready: with the table of a file, and with the one
// that is stored when it starts again.
func TestUp_TableOfAFileIsReadyAndStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "table.yaml")
	if err := os.WriteFile(file, []byte(studentTable), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	c := upIn(t, data, "--replicas", "1", "--table", file)
	allReplicasReady(t, c)
	posts(t, c, "/write", `{"data":[{"Stud_id":7,"Stud_name":"a","Stud_marks":1},{"Stud_id":107,"Stud_name":"b","Stud_marks":"2"}]}`, `"2 Data entries added"`)
	verified(t, c, 4)
	if out, errs, exit := c.run("init"); exit != 4 || !strings.Contains(errs, "StudT") {
		t.Errorf("a second init: exit %d, %s%s", exit, out, errs)
	}
	c.stop()

	again := upIn(t, data, "--replicas", "1")
	allReplicasReady(t, again)
	posts(t, again, "/read", `{"Stud_id":{"low":0,"high":199}}`, `"Stud_marks":"2"`)
	verified(t, again, 4)
}

func allReplicasReady(t *testing.T, c *cluster) {
	t.Helper()
	var shards []events.ShardStatus
	if err := c.json(&shards, "shards"); err != nil {
		t.Fatal(err)
	}
	replicas := 0
	for _, s := range shards {
		for _, r := range s.Replicas {
			if replicas++; r.State != events.ReplicaReady {
				t.Errorf("%s on %s is %s after the ready line", s.Shard, r.Server, r.State)
			}
		}
	}
	if len(shards) != 2 || replicas != 4 {
		t.Errorf("%d replicas of %d shards", replicas, len(shards))
	}
}

func verified(t *testing.T, c *cluster, replicas int) {
	t.Helper()
	var found []struct {
		Equal    bool  `json:"equal"`
		Rows     int64 `json:"rows"`
		Replicas []any `json:"replicas"`
	}
	if err := c.json(&found, "verify"); err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		replicas -= len(v.Replicas)
		if !v.Equal || v.Rows != 1 {
			t.Errorf("%+v", v)
		}
	}
	if replicas != 0 {
		t.Errorf("%d replicas were left out of %+v", replicas, found)
	}
}

func posts(t *testing.T, c *cluster, path, body, want string) {
	t.Helper()
	resp, err := http.Post(c.http+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(got), want) {
		t.Errorf("%s: %d, %v: %s", path, resp.StatusCode, err, got)
	}
}
