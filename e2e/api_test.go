package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

// api is what any cluster looks like from outside: the addresses of its router
// and its bus, and the program as their client.
type api struct {
	t                 *testing.T
	id                string
	http, admin, nats string // base URLs
}

var client = &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 200, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}

// call is one HTTP request.
func call(method, url, body string) (int, string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// url is where the router is.
func (c *api) url() string { return c.http }

// run is one command of the CLI against the cluster.
func (c *api) run(args ...string) (stdout, stderr string, exit int) {
	c.t.Helper()
	cmd := ringway(c.id+"-cli", append(args, "--nats", c.nats)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exitErr *exec.ExitError
	if err != nil && !errors.As(err, &exitErr) {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// json runs a command of the CLI and reads what it prints.
func (c *api) json(into any, args ...string) error {
	out, errs, exit := c.run(append(args, "-o", "json")...)
	if exit != 0 {
		return fmt.Errorf("ringway %s: exit %d: %s", strings.Join(args, " "), exit, errs)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("ringway %s: %w in %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (c *api) ps() (lines []events.InstanceReport, err error) {
	err = c.json(&lines, "ps")
	return lines, err
}

// serving are the instances in rotation.
func (c *api) serving() []events.InstanceReport {
	c.t.Helper()
	lines, err := c.ps()
	if err != nil {
		c.t.Fatal(err)
	}
	var out []events.InstanceReport
	for _, i := range lines {
		if i.Serving {
			out = append(out, i)
		}
	}
	return out
}

// rep asks the router who serves.
func (c *api) rep() (names []string, err error) {
	var got struct {
		Message struct {
			N        int      `json:"N"`
			Replicas []string `json:"replicas"`
		} `json:"message"`
		Status string `json:"status"`
	}
	code, body, err := call(http.MethodGet, c.http+"/rep", "")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got.Status != "successful" || got.Message.N != len(got.Message.Replicas) {
		return nil, fmt.Errorf("GET /rep: %d %s", code, body)
	}
	return got.Message.Replicas, nil
}

// expect makes a request and compares the answer, but for white space and the
// order of keys.
func (c *api) expect(method, path, body string, code int, want string) {
	c.t.Helper()
	got, answer, err := call(method, c.http+path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if got != code || !sameJSON(answer, want) {
		c.t.Errorf("%s %s %s\n got %d %s\nwant %d %s", method, path, body, got, answer, code, want)
	}
}

// refuses makes a request that has to fail with code and a message that names
// what is wrong.
func (c *api) refuses(method, path, body string, code int, names ...string) {
	c.t.Helper()
	got, answer, err := call(method, c.http+path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	var a struct{ Message, Status string }
	if err := json.Unmarshal([]byte(answer), &a); err != nil || a.Status != "failure" || got != code {
		c.t.Errorf("%s %s %s\n got %d %s\nwant %d, failure", method, path, body, got, answer, code)
	}
	for _, name := range names {
		if !strings.Contains(answer, name) {
			c.t.Errorf("%s %s %s: the answer does not name %q: %s", method, path, body, name, answer)
		}
	}
}

// shards is what the leader reports of the table.
func (c *api) shards() (lines []events.ShardStatus, err error) {
	err = c.json(&lines, "shards")
	return lines, err
}

// allReady waits until every replica of every shard is ready.
func (c *api) allReady(patience time.Duration) time.Duration {
	c.t.Helper()
	return eventually(c.t, patience, func() error {
		lines, err := c.shards()
		if err != nil {
			return err
		}
		for _, s := range lines {
			for _, r := range s.Replicas {
				if r.State != events.ReplicaReady {
					return fmt.Errorf("%s on %s is %s: %s", s.Shard, r.Server, r.State, r.Detail)
				}
			}
		}
		return nil
	})
}

// agrees has all replicas compared.
func (c *api) agrees() {
	c.t.Helper()
	if out, errs, exit := c.run("verify"); exit != 0 {
		c.t.Errorf("ringway verify: exit %d\n%s%s", exit, out, errs)
	}
}

// rows is all that the table holds.
func (c *api) rows(t *testing.T) string {
	t.Helper()
	code, body, err := call("POST", c.http+"/read", `{"Stud_id":{"low":-9000000000,"high":9000000000}}`)
	if err != nil || code != 200 {
		t.Fatal(code, body, err)
	}
	return body
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// instanceEvents lists events of some verbs about instances, "verb name".
func (c *api) instanceEvents(verbs ...string) (found []string) {
	c.t.Helper()
	out, errs, exit := c.run("events", "--since", "10m", "-o", "json")
	if exit != 0 {
		c.t.Fatalf("ringway events: exit %d, %s", exit, errs)
	}
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var e events.Event
		if err := d.Decode(&e); err != nil {
			c.t.Fatal(err)
		}
		if e.Entity == events.EntityInstance && slices.Contains(verbs, e.Verb) {
			found = append(found, e.Verb+" "+e.About)
		}
	}
	return found
}

// servers lists the processes of the shard servers, by name.
func (c *api) servers() (pids map[string]int, err error) {
	lines, err := c.ps()
	pids = map[string]int{}
	for _, l := range lines {
		if l.Service == "StudT" {
			pids[l.Name] = l.PID
		}
	}
	return pids, err
}

// moves adds an instance and removes it again, so often: revisions move.
func (c *api) moves(prefix string, times int) {
	c.t.Helper()
	for i := range times {
		name := fmt.Sprintf(`{"n":1,"hostnames":["%s%d"]}`, prefix, i)
		for _, ask := range [][3]string{{http.MethodPost, "/add", name}, {http.MethodDelete, "/rm", name}} {
			if code, answer, err := call(ask[0], c.http+ask[1], ask[2]); err != nil || code != http.StatusOK {
				c.t.Fatalf("%s: %d %s %v", ask[1], code, answer, err)
			}
		}
	}
}

// awaitEvent waits until `ringway events` prints some words.
func (c *api) awaitEvent(kind string) {
	c.t.Helper()
	eventually(c.t, 10*time.Second, func() error {
		out, errs, exit := c.run("events")
		if exit != 0 || !strings.Contains(out, kind) {
			return fmt.Errorf("events: exit %d, no %q in\n%s%s", exit, kind, out, errs)
		}
		return nil
	})
}

// dial is a connection of the test itself to the cluster's bus.
func (c *api) dial() *bus.Conn {
	c.t.Helper()
	cfg := bus.DefaultConfig()
	cfg.URL = c.nats
	conn, err := bus.Connect(c.t.Context(), cfg, testkit.Quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(conn.Close)
	return conn
}
