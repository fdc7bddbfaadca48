package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Another image of shard servers in the configuration, and `up` again: they
// follow one after the other, under their names and on their volumes, and
// nothing else is touched but the controller.
func TestE2E_ImageOfShardServers(t *testing.T) {
	t.Parallel()
	e := newE2E(t)
	e.base = e.image // SQLite is enough here
	e.config = filepath.Join(t.TempDir(), "ringway.yaml")
	configure := func(tables string) {
		t.Helper()
		if err := os.WriteFile(e.config, []byte("services: {web: {replicas: 1}}\n"+tables), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	configure("")
	e.up()
	next := e.cluster + "-shard:two"
	e.docker("tag", e.shardImage, next)
	t.Cleanup(func() {
		if err := exec.Command("docker", "image", "rm", "-f", next).Run(); err != nil {
			t.Error(err)
		}
	})
	if code, got, err := e.call(http.MethodPost, "/init", tableOfThree); err != nil || code != http.StatusOK {
		t.Fatalf("/init: %d %s %v", code, got, err)
	}
	// Ids by names.
	containers := func() map[string]string {
		t.Helper()
		found := map[string]string{}
		for _, line := range strings.Split(e.docker("ps", "--filter", "name="+e.cluster, "--format", "{{.Names}} {{.ID}}"), "\n") {
			name, id, _ := strings.Cut(line, " ")
			found[name] = id
		}
		return found
	}
	volume := func(server string) string {
		return e.docker("inspect", "--format", `{{index .Config.Labels "io.ringway.volume"}}`, e.instance(server))
	}
	before, had := containers(), map[string]string{}
	servers := []string{"Server0", "Server1", "Server2"}
	for _, s := range servers {
		had[s] = volume(s)
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
				if code, got, err := e.call(http.MethodPost, path, body); err != nil || code != http.StatusOK {
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
	e.up()
	e.eventually(2*time.Minute, func() error {
		for _, s := range servers {
			if image, err := output(t.Context(), "docker", "inspect", "--format", "{{.Config.Image}}", e.instance(s)); err != nil || image != next {
				return fmt.Errorf("%s runs %s (%v)", s, image, err)
			}
		}
		if st, err := e.status(t.Context()); err != nil || missingIn(st) != "" || st.Tables[0].Detail != "" {
			return fmt.Errorf("still waiting for %s: %+v (%v)", missingIn(st), st.Tables, err)
		}
		return nil
	})
	close(stop)
	if err := <-traffic; err != nil {
		t.Error(err)
	}
	t.Logf("3 shard servers run another image %s after up began; %d writes and reads meanwhile", ms(time.Since(begun)), rows)
	after := containers()
	controller := e.role("controller")
	for name, id := range before {
		switch renewed := strings.HasPrefix(controller, after[name]) || had[strings.TrimPrefix(name, e.cluster+"-")] != ""; {
		case renewed && after[name] == id:
			t.Errorf("%s is the same container", name)
		case !renewed && after[name] != id:
			t.Errorf("%s is another container", name)
		}
	}
	for _, s := range servers {
		if now := volume(s); now != had[s] {
			t.Errorf("%s has volume %s, had %s", s, now, had[s])
		}
	}
	e.up()
	if again := containers(); fmt.Sprint(again) != fmt.Sprint(after) {
		t.Errorf("up without a change made %v of %v", again, after)
	}
}
