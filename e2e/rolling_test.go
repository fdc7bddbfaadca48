package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringway/events"
)

// traffic writes rows and reads them back until it is ended; nothing of it may
// fail.
type traffic struct {
	end     func()
	mu      sync.Mutex
	written int // rows from id 0 on that were acknowledged
	reads   int
	bad     []string
}

// startTraffic writes to all four shards, one after the other, and reads all of them.
func (c *api) startTraffic() *traffic {
	tr := &traffic{}
	done := make(chan struct{})
	var work sync.WaitGroup
	tr.end = sync.OnceFunc(func() { close(done); work.Wait() })
	c.t.Cleanup(tr.end)
	loop := func(once func()) {
		work.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for range 6000 { // two minutes
				once()
				select {
				case <-done:
					return
				case <-pace.C:
				}
			}
		})
	}
	fail := func(what string, code int, body string, err error) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.bad = append(tr.bad, fmt.Sprintf("%s %s: %d %.300s %v", time.Now().Format("05.000"), what, code, body, err))
	}
	rows := func(n int) (ids []int) {
		for i := range n {
			ids = append(ids, i%4*4096+i/4)
		}
		return ids
	}
	loop(func() {
		id := rows(tr.written + 1)[tr.written]
		code, body, err := call("POST", c.http+"/write", `{"data":`+list(student(id, fmt.Sprintf("S%d", id), id%101))+`}`)
		if err != nil || code != 200 {
			fail("write", code, body, err)
			return
		}
		tr.mu.Lock()
		tr.written++
		tr.mu.Unlock()
	})
	for range 2 {
		loop(func() {
			tr.mu.Lock()
			want := tr.written
			tr.mu.Unlock()
			code, body, err := call("POST", c.http+"/read", `{"Stud_id":{"low":0,"high":16383}}`)
			var got struct {
				Data []struct {
					ID int `json:"Stud_id"`
				}
			}
			if err == nil && code == 200 {
				err = json.Unmarshal([]byte(body), &got)
			}
			if err != nil || code != 200 {
				fail("read", code, body, err)
				return
			}
			there := map[int]bool{}
			for _, row := range got.Data {
				there[row.ID] = true
			}
			for _, id := range rows(want) {
				if !there[id] {
					fail(fmt.Sprintf("read misses %d, which was acknowledged", id), code, "", nil)
				}
			}
			tr.mu.Lock()
			tr.reads++
			tr.mu.Unlock()
		})
	}
	return tr
}

// Another environment is given to the shard servers, one after the other, while
// clients write and read; the leader dies meanwhile, twice.
func TestUp_ShardServersAreRenewedOneAtATimeAndNobodyNotices(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ringway.yaml")
	configure := func(env string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("services: {web: {replicas: 1}}\ntables: {StudT: {engine: sqlite, env: "+env+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(`{LEVEL: "1"}`)
	c := database(t, "--hosts", "2", "--config", file)
	before, err := c.servers()
	if err != nil || len(before) != 6 {
		t.Fatal(before, err)
	}
	tr := c.startTraffic()
	written := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.written
	}
	eventually(t, 20*time.Second, func() error {
		if written() < 20 {
			return fmt.Errorf("%d rows", written())
		}
		return nil
	})

	begun := time.Now()
	configure(`{LEVEL: "2"}`)
	c.kill(c.role("controller"), syscall.SIGKILL) // its successor reads the file
	eventually(t, 30*time.Second, func() error {
		if found := c.instanceEvents(events.VerbRenewed); len(found) < 2 {
			return fmt.Errorf("renewed: %v", found)
		}
		return nil
	})
	c.kill(c.role("controller"), syscall.SIGKILL)
	has := func(pid int, variable string) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err == nil && slices.Contains(strings.Split(string(b), "\x00"), variable)
	}
	everywhere := func(variable string) error {
		now, err := c.servers()
		if err != nil {
			return err
		}
		if len(now) != len(before) {
			return fmt.Errorf("servers are %v, were %v", now, before)
		}
		for name := range before {
			if !has(now[name], variable) {
				return fmt.Errorf("%s (process %d) runs without %s", name, now[name], variable)
			}
		}
		return nil
	}
	eventually(t, 45*time.Second, func() error { return everywhere("LEVEL=2") })
	c.allReady(20 * time.Second)
	took := time.Since(begun)
	var found []string
	eventually(t, 10*time.Second, func() error {
		if found = c.instanceEvents(events.VerbRenewing, events.VerbRenewed, events.VerbPostponed); len(found) < 2*len(before) {
			return fmt.Errorf("events are %v", found)
		}
		return nil
	})
	// A new leader may put off what it finds begun; nobody begins before the one
	// before is ready.
	done, open := 0, ""
	for _, line := range found {
		verb, name, _ := strings.Cut(line, " ")
		switch {
		case verb == events.VerbRenewing && open == "":
			open = name
		case verb != events.VerbRenewing && open == name:
			open = ""
			if verb == events.VerbRenewed {
				done++
			}
		default:
			t.Fatalf("%q is out of order in %v", line, found)
		}
	}
	if done != len(before) || open != "" {
		t.Errorf("%d of %d were renewed: %v", done, len(before), found)
	}

	// What cannot work costs one server a moment, and is taken back.
	configure(`{LEVEL: "3", RINGWAY_DSN: "nonsense"}`)
	c.kill(c.role("controller"), syscall.SIGKILL)
	eventually(t, 30*time.Second, func() error {
		var st events.Status
		if err := c.json(&st, "status"); err != nil {
			return err
		}
		if len(st.Tables) != 1 || !strings.Contains(st.Tables[0].Detail, "did not get ready") {
			return fmt.Errorf("status of the tables is %+v", st.Tables)
		}
		return nil
	})
	eventually(t, 20*time.Second, func() error { return everywhere("LEVEL=2") })
	c.allReady(20 * time.Second)
	if out, _, _ := c.run("shards"); !strings.Contains(out, "did not get ready") {
		t.Errorf("ringway shards does not print why:\n%s", out)
	}

	tr.end()
	for _, bad := range tr.bad[:min(len(tr.bad), 5)] {
		t.Error(bad)
	}
	t.Logf("%d servers renewed in %s; %d rows written, %d reads, %d failed", len(before), took.Round(time.Millisecond), tr.written, tr.reads, len(tr.bad))
	c.agrees()
}
