package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringway/events"
)

// Another image of shard servers in the configuration, and `up` again: they
// follow one after the other, under their names and on their volumes, and
// nothing else is touched but the controller.
func TestE2E_ImageOfShardServers(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	config := filepath.Join(t.TempDir(), "ringway.yaml")
	c.env = append(c.env, "RINGWAY_SHARD_BASE="+c.image, "RINGWAY_CONFIG="+config) // SQLite is enough here
	configure := func(tables string) {
		t.Helper()
		if err := os.WriteFile(config, []byte("services: {web: {replicas: 1}}\n"+tables), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	c.up()
	next := c.id + "-shard:two"
	c.docker("tag", c.shardImage, next)
	t.Cleanup(func() {
		if err := exec.Command("docker", "image", "rm", "-f", "--no-prune", next).Run(); err != nil {
			t.Error(err)
		}
	})
	c.init(tableOfThree)
	// Ids by names.
	containers := func() map[string]string {
		t.Helper()
		found := map[string]string{}
		for _, line := range strings.Split(c.docker("ps", "--filter", "name="+c.id, "--format", "{{.Names}} {{.ID}}"), "\n") {
			name, id, _ := strings.Cut(line, " ")
			found[name] = id
		}
		return found
	}
	before, had := containers(), map[string]string{}
	servers := []string{"Server0", "Server1", "Server2"}
	for _, s := range servers {
		had[s] = c.volumeOf(s)
	}

	configure("tables: {StudT: {image: " + next + "}}\n")
	begun := time.Now()
	stop, traffic := make(chan struct{}), make(chan error, 1)
	rows := 0
	go func() { // a failure ends it, and the test
		defer close(traffic)
		pace := time.NewTicker(50 * time.Millisecond)
		defer pace.Stop()
		for ; rows < 4000; rows++ {
			row := fmt.Sprintf(`{"data":[{"Stud_id":%d,"Stud_name":"n","Stud_marks":1}]}`, rows*397%8192)
			for path, body := range map[string]string{"/write": row, "/read": `{"Stud_id":{"low":0,"high":8191}}`} {
				if code, got, err := call(http.MethodPost, c.http+path, body); err != nil || code != http.StatusOK {
					traffic <- fmt.Errorf("%s: %d %s %w", path, code, got, err)
					return
				}
			}
			select {
			case <-stop:
				return
			case <-pace.C:
			}
		}
	}()
	c.up()
	eventually(t, 2*time.Minute, func() error {
		for _, s := range servers {
			if image, err := docker(t.Context(), "inspect", "--format", "{{.Config.Image}}", c.instance(s)); err != nil || image != next {
				return fmt.Errorf("%s runs %s (%v)", s, image, err)
			}
		}
		var st events.Status
		if err := c.json(&st, "status"); err != nil || len(st.Tables) != 1 || st.Tables[0].Detail != "" {
			return fmt.Errorf("%+v (%v)", st.Tables, err)
		}
		_, err := c.readyServers(2, 3)
		return err
	})
	close(stop)
	if err := <-traffic; err != nil {
		t.Error(err)
	}
	t.Logf("3 shard servers run another image %s after up began; %d writes and reads meanwhile", ms(time.Since(begun)), rows)
	after := containers()
	controller := c.role("controller")
	for name, id := range before {
		switch renewed := strings.HasPrefix(controller, after[name]) || had[strings.TrimPrefix(name, c.id+"-")] != ""; {
		case renewed && after[name] == id:
			t.Errorf("%s is the same container", name)
		case !renewed && after[name] != id:
			t.Errorf("%s is another container", name)
		}
	}
	for _, s := range servers {
		if now := c.volumeOf(s); now != had[s] {
			t.Errorf("%s has volume %s, had %s", s, now, had[s])
		}
	}
	c.up()
	if again := containers(); fmt.Sprint(again) != fmt.Sprint(after) {
		t.Errorf("up without a change made %v of %v", again, after)
	}
}
