package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/e2e/check"
	"ringway/e2e/writers"
	"ringway/events"
)

// The table of the set test: four shards, three replicas of each, on four
// shard servers of three hosts.
var setTable = writers.Table{Shards: 4, Size: 1 << 30}

const (
	setServers  = 4
	setReplicas = 3
)

// harmDuring is how long containers are harmed.
func harmDuring() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("RINGWAY_HARM_FOR")); err == nil {
		return d
	}
	switch {
	case os.Getenv("RINGWAY_LONG") != "":
		return 10 * time.Minute
	case full:
		return time.Minute
	}
	return 20 * time.Second
}

// P1 to P4 on containers, each with its own MySQL: nothing acknowledged is
// lost, nothing rejected is there, no update is lost or done twice, and all
// replicas are alike, whoever is killed or paused.
func TestE2E_DatabaseSet(t *testing.T) {
	t.Parallel()
	e := newE2E(t)
	begun := time.Now()
	since := func() string { return time.Since(begun).Round(100 * time.Millisecond).String() }
	e.up()
	e.initSetTable()
	t.Logf("the database serves after %s, on %s", since(), e.engineOfShards())

	c := writers.NewClient(func() string { return "http://127.0.0.1:" + e.http }, setTable)
	var set writers.Set
	var count writers.Counters
	count.Begin(t, c, 4)
	n := newNemesis(e)
	writing, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	writers.Each(writing, &wg, 6, set.Work(writing, c))
	writers.Each(writing, &wg, 4, count.Work(c))
	n.run(harmDuring())
	stop()
	wg.Wait()
	t.Logf("harm done until %s: %s", since(), n)

	healed := time.Now()
	found := e.settled(c)
	t.Logf("settled after %s, %s after the last harm", since(), time.Since(healed).Round(100*time.Millisecond))
	set.AskOpen(t, c)
	writers.Report(t, set.Check(t, setTable, found, setTable.IsCounter))
	writers.Report(t, count.Check(t, setTable, found))
}

// initSetTable makes the table as a client of the course does.
func (e *e2e) initSetTable() {
	e.t.Helper()
	type shard struct {
		Low  int64  `json:"Stud_id_low"`
		ID   string `json:"Shard_id"`
		Size int64  `json:"Shard_size"`
	}
	body := struct {
		N       int                 `json:"N"`
		Schema  events.Schema       `json:"schema"`
		Shards  []shard             `json:"shards"`
		Servers map[string][]string `json:"servers"`
	}{N: setServers, Schema: setTable.Schema(), Servers: map[string][]string{}}
	for _, s := range setTable.Events() {
		body.Shards = append(body.Shards, shard{s.Low, s.ID, s.Size})
	}
	for i := range setServers {
		for k := range setReplicas {
			name := fmt.Sprintf("Server%d", i)
			body.Servers[name] = append(body.Servers[name], setTable.Shard((i+k)%setTable.Shards))
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		e.t.Fatal(err)
	}
	defaultTimeout := http.Client{Timeout: 4 * time.Minute} // database servers make their files
	resp, err := defaultTimeout.Post("http://127.0.0.1:"+e.http+"/init", "application/json", strings.NewReader(string(b)))
	if err != nil {
		e.t.Fatal(err)
	}
	_ = resp.Body.Close() // only the code counts
	if resp.StatusCode != http.StatusOK {
		e.t.Fatalf("/init: %d", resp.StatusCode)
	}
}

// engineOfShards looks at what runs beside a shard server.
func (e *e2e) engineOfShards() string {
	e.t.Helper()
	runs := e.docker("top", e.instance("Server0"), "-eo", "pid,args")
	for _, engine := range []string{"mysqld", "mariadbd"} {
		if strings.Contains(runs, "/"+engine+" ") {
			return engine
		}
	}
	if os.Getenv("CI") != "" {
		e.t.Errorf("no database server runs in a shard server's container:\n%s", runs)
	}
	return "SQLite: no database server can be had"
}

// settled starts what was killed, waits until every replica is ready and
// `ringway verify` finds them equal, and returns what they hold.
func (e *e2e) settled(c *writers.Client) map[int][]check.Replica {
	e.t.Helper()
	if err := e.composeQuietly(e.t.Context(), "up", "-d"); err != nil {
		e.t.Fatal(err)
	}
	var servers []string
	e.eventually(3*time.Minute, func() (err error) {
		servers, err = e.readyServers()
		return err
	})
	var out string
	verified := func() (err error) {
		out, err = e.composeOutput("exec", "-T", "controller", "/ringway", "verify", "--nats", "nats://bus:4222")
		return err
	}
	if err := within(time.Minute, verified); err != nil {
		e.t.Errorf("verify: %v\n%s", err, out) // and see what is wrong
	} else {
		e.t.Logf("verify:\n%s", out)
	}
	found := map[int][]check.Replica{}
	e.eventually(time.Minute, func() error {
		clear(found)
		for _, server := range servers {
			held, err := c.Held(server)
			if err != nil {
				return err
			}
			for i, r := range held {
				found[i] = append(found[i], r)
			}
		}
		return nil
	})
	for i := range setTable.Shards {
		if len(found[i]) != setReplicas {
			e.t.Errorf("%s is on %d servers", setTable.Shard(i), len(found[i]))
		}
	}
	return found
}

// readyServers are all shard servers, if each replica on them is ready.
func (e *e2e) readyServers() (names []string, err error) {
	st, err := e.status(e.t.Context())
	if err != nil {
		return nil, err
	}
	if missing := missingIn(st); missing != "" {
		return nil, errors.New("still waiting for " + missing)
	}
	if len(st.Tables) != 1 || len(st.Tables[0].Shards) != setTable.Shards {
		return nil, fmt.Errorf("tables: %+v", st.Tables)
	}
	for _, s := range st.Tables[0].Shards {
		for _, r := range s.Replicas {
			if r.State != events.ReplicaReady {
				return nil, fmt.Errorf("%s is %s on %s: %s", s.Shard, r.State, r.Server, r.Detail)
			}
			names = append(names, r.Server)
		}
		if len(s.Replicas) != setReplicas {
			return nil, fmt.Errorf("%s has %d replicas", s.Shard, len(s.Replicas))
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) != setServers {
		return nil, fmt.Errorf("shards are on %v", names)
	}
	return names, nil
}

func (e *e2e) composeOutput(args ...string) (string, error) {
	out, err := e.composeCommand(e.t.Context(), args...).CombinedOutput()
	return string(out), err
}

// within polls until f succeeds or the time is over, and returns what it says
// then.
func within(d time.Duration, f func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for deadline := time.Now().Add(d); ; <-tick.C {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
