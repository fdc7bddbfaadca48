package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const tableOfThree = `{"N":3,"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},` +
	`"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096}],` +
	`"servers":{"Server0":["sh1","sh2"],"Server1":["sh1","sh2"],"Server2":["sh1","sh2"]}}`

// The database on containers: a killed server's successor has its volume, and
// what was written outlives it, and down and up.
func TestE2E_Database(t *testing.T) {
	t.Parallel()
	e := newE2E(t)
	e.up()
	request := func(method, path, body string) string {
		t.Helper()
		code, got, err := e.call(method, path, body)
		if err != nil || code != http.StatusOK {
			t.Fatalf("%s %s: %d %s %v", method, path, code, got, err)
		}
		return got
	}
	e.client.Timeout = 4 * time.Minute // database servers make their files
	request(http.MethodPost, "/init", tableOfThree)
	next := 0
	write := func(n int) {
		t.Helper()
		for range n {
			request(http.MethodPost, "/write", fmt.Sprintf(`{"data":[{"Stud_id":%d,"Stud_name":"n","Stud_marks":%d}]}`, next%8192, next))
			next += 397
		}
	}
	rows := func() int {
		t.Helper()
		var answer struct{ Data []json.RawMessage }
		if err := json.Unmarshal([]byte(request(http.MethodPost, "/read", `{"Stud_id":{"low":0,"high":8191}}`)), &answer); err != nil {
			t.Fatal(err)
		}
		return len(answer.Data)
	}
	write(20)
	volumes := func() []string {
		v := strings.Fields(e.docker("volume", "ls", "-q", "--filter", "label=io.ringway.cluster="+e.cluster))
		slices.Sort(v)
		return v
	}
	had := volumes()
	if len(had) != 3 {
		t.Fatalf("volumes: %v", had)
	}
	volume := e.docker("inspect", "--format", `{{index .Config.Labels "io.ringway.volume"}}`, e.instance("Server0"))
	e.docker("kill", e.instance("Server0"))
	write(20)
	begun := time.Now()
	e.eventually(3*time.Minute, func() error {
		now := e.docker("ps", "--filter", "label=io.ringway.volume="+volume, "--format", `{{.Label "io.ringway.instance"}}`)
		if now == "" || strings.Contains(now, "Server0") {
			return fmt.Errorf("the volume of Server0 is with %q", now)
		}
		if st, err := e.status(t.Context()); err != nil || missingIn(st) != "" {
			return fmt.Errorf("still waiting for %s (%v)", missingIn(st), err)
		}
		return nil
	})
	t.Logf("docker kill of a shard server: all replicas are ready again after %s", ms(time.Since(begun)))
	if now := volumes(); !slices.Equal(now, had) {
		t.Errorf("volumes before %v, after %v", had, now)
	}
	if err := e.down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	e.up()
	write(1)
	if n := rows(); n != 41 {
		t.Errorf("%d of 41 rows are there", n)
	}
}
