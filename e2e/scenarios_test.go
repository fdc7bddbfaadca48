package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
)

// fleet is a cluster whose parts a test can harm, whatever it runs on: child
// processes of `ringway up`, or containers. The scenarios of this file are the
// same on both.
type fleet interface {
	on(t *testing.T) fleet // for a part of a test
	outside() *api
	patience() time.Duration // bounds what nobody has promised a time for
	running() []string       // the replicas whose processes run

	killInstance(name string)
	crashRole(role string) // returns when it is back; an agent is named by its host
	pauseRole(role string) (resume func())
	restart() // ends everything, and starts it again with its data
}

var _, _ fleet = (*cluster)(nil), (*containers)(nil)

// without waits until none of gone serves, and then until n others do.
func without(f fleet, gone []string, n int) (out, restored time.Duration) {
	c := f.outside()
	c.t.Helper()
	watch := testkit.StartWatch()
	return withoutFor(f, watch, gone, n, f.patience(), f.patience())
}

func withoutFor(f fleet, watch testkit.Stopwatch, gone []string, n int, outWithin, restoredWithin time.Duration) (out, restored time.Duration) {
	c := f.outside()
	c.t.Helper()
	serve := func() ([]string, error) {
		names, err := c.rep()
		if err == nil && slices.ContainsFunc(gone, func(g string) bool { return slices.Contains(names, g) }) {
			err = fmt.Errorf("%v serve", names)
		}
		return names, err
	}
	out = watch.Within(c.t, outWithin, func() error {
		_, err := serve()
		return err
	})
	restored = watch.Within(c.t, restoredWithin, func() error {
		names, err := serve()
		if err == nil && len(names) != n {
			err = fmt.Errorf("%v serve", names)
		}
		return err
	})
	return out, restored
}

// onlyWanted waits until exactly what serves runs.
func onlyWanted(f fleet) {
	c := f.outside()
	c.t.Helper()
	eventually(c.t, f.patience(), func() error {
		names, err := c.rep()
		if running := f.running(); err != nil || !sameSet(names, running) {
			return fmt.Errorf("%v serve, %v run (%v)", names, running, err)
		}
		return nil
	})
}

// killedReplicas: each is out of rotation, and replaced.
func killedReplicas(f fleet, times int) {
	c := f.outside()
	c.t.Helper()
	for i := range times {
		names, err := c.rep()
		testkit.Must(c.t, err)
		victim := names[i%len(names)]
		f.killInstance(victim)
		out, restored := without(f, []string{victim}, len(names))
		c.t.Logf("kill %d of a replica: out of rotation after %s, restored after %s", i+1, ms(out), ms(restored))
	}
}

// pausedAgent: its replicas are out of rotation, are replaced, and do not run
// twice when it is back.
func pausedAgent(f fleet, host string, outWithin, replacedWithin time.Duration) {
	c := f.outside()
	c.t.Helper()
	var gone []string
	all := c.serving()
	for _, i := range all {
		if i.Host == host {
			gone = append(gone, i.Name)
		}
	}
	resume := f.pauseRole(host)
	out, replaced := withoutFor(f, testkit.StartWatch(), gone, len(all), outWithin, replacedWithin)
	c.t.Logf("an agent is paused: %v out of rotation after %s, replaced after %s", gone, ms(out), ms(replaced))
	resume()
	eventually(c.t, f.patience(), func() error {
		var st events.Status
		if err := c.json(&st, "status"); err != nil {
			return err
		}
		for _, h := range st.Hosts {
			if h.State != events.Alive {
				return fmt.Errorf("host %s is %s", h.Name, h.State)
			}
		}
		if len(st.Instances) != len(all) {
			return fmt.Errorf("%d instances: %+v", len(st.Instances), st.Instances)
		}
		return nil
	})
	onlyWanted(f)
}

// crashedRoles come back by themselves, requests are served meanwhile, and the
// replicas live through it.
func crashedRoles(f fleet, roles ...string) {
	c := f.outside()
	c.t.Helper()
	before := c.serving()
	for _, role := range roles {
		f.crashRole(role)
		eventually(c.t, f.patience(), func() error { return c.served() })
	}
	eventually(c.t, f.patience(), func() error {
		after, err := c.ps()
		if err != nil {
			return err
		}
		for _, b := range before {
			if !slices.ContainsFunc(after, func(a events.InstanceReport) bool {
				return a.Name == b.Name && a.PID == b.PID && a.State == events.Ready && a.Serving
			}) {
				return fmt.Errorf("%s (pid %d) is not among %+v", b.Name, b.PID, after)
			}
		}
		return nil
	})
	eventually(c.t, f.patience(), func() error {
		if code, body, err := call(http.MethodPost, c.http+"/add", `{"n":1,"hostnames":["S7"]}`); err != nil || code != http.StatusOK {
			return fmt.Errorf("/add: %d %s %v", code, body, err)
		}
		return nil
	})
	if code, body, err := call(http.MethodDelete, c.http+"/rm", `{"n":1,"hostnames":["S7"]}`); err != nil || code != http.StatusOK {
		c.t.Errorf("/rm: %d %s %v", code, body, err)
	}
}

// served is nil if a request is answered with 200.
func (c *api) served() error {
	code, body, err := call(http.MethodGet, c.http+"/home", "")
	if err != nil || code != http.StatusOK {
		return fmt.Errorf("/home: %d %s %w", code, body, err)
	}
	return nil
}

// restartKeepsReplicas: what was added is there after everything was stopped
// and started again.
func restartKeepsReplicas(f fleet) {
	c := f.outside()
	c.t.Helper()
	if code, body, err := call(http.MethodPost, c.http+"/add", `{"n":2,"hostnames":["S5","S4"]}`); err != nil || code != http.StatusOK {
		c.t.Fatalf("/add: %d %s %v", code, body, err)
	}
	before, err := c.rep()
	testkit.Must(c.t, err)
	f.restart()
	eventually(c.t, f.patience(), func() error {
		if after, err := c.rep(); err != nil || !sameSet(before, after) {
			return fmt.Errorf("before %v, after %v (%v)", before, after, err)
		}
		return nil
	})
}

// killedShardServer is replaced under another name, which takes over its data,
// and nothing is missing; reads and writes go on meanwhile. The table has three
// replicas of each shard, sh1 begins at 0, and server keeps it.
func killedShardServer(f fleet, server string, kill func()) {
	c := f.outside()
	c.t.Helper()
	c.expect("POST", "/write", `{"data":`+list(students(0, 50)...)+`}`, 200, `{"message":"50 Data entries added","status":"success"}`)
	kill()
	killed := time.Now()
	c.expect("POST", "/write", `{"data":`+list(students(50, 50)...)+`}`, 200, `{"message":"50 Data entries added","status":"success"}`)
	c.expect("POST", "/read", `{"Stud_id":{"low":0,"high":99}}`, 200, `{"shards_queried":["sh1"],"data":`+list(students(0, 100)...)+`,"status":"success"}`)
	eventually(c.t, 3*f.patience(), func() error {
		lines, err := c.shards()
		if err != nil {
			return err
		}
		for _, s := range lines {
			if len(s.Replicas) != 3 {
				return fmt.Errorf("%s has %d replicas", s.Shard, len(s.Replicas))
			}
			for _, r := range s.Replicas {
				if r.Server == server || r.State != events.ReplicaReady {
					return fmt.Errorf("%s on %s is %s", s.Shard, r.Server, r.State)
				}
			}
		}
		return nil
	})
	c.t.Logf("all replicas are ready %s after the kill", ms(time.Since(killed)))
	c.agrees()
}

// restartKeepsRows: what was written is there after everything was stopped and
// started again.
func restartKeepsRows(f fleet) {
	c := f.outside()
	c.t.Helper()
	before := c.rows(c.t)
	f.restart()
	if after := c.rows(c.t); after != before {
		c.t.Errorf("after the restart\n%s\nwant\n%s", after, before)
	}
	c.allReady(3 * f.patience())
	c.agrees()
}

func ms(d time.Duration) string { return d.Round(time.Millisecond).String() }

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
