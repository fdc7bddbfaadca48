package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringway/e2e/check"
	"ringway/internal/testkit"
)

// trafficOn sends requests to /home until it is ended, which is after ten
// seconds at the earliest in `task e2e`.
func trafficOn(c *api) (end func()) {
	connections, pause, atLeast := 20, 5*time.Millisecond, time.Duration(0)
	switch {
	case long():
		connections, pause, atLeast = 50, 0, time.Minute
	case full:
		connections, pause, atLeast = 50, 0, 10*time.Second
	}
	begun := time.Now()
	l := startLoad(c.http+"/home", connections, pause)
	return func() {
		c.t.Helper()
		<-time.After(time.Until(begun.Add(atLeast)))
		l.end(c.t)
	}
}

// scenarios are parts of a test that follow each other on one cluster.
type scenarios struct {
	*containers
}

func startScenarios(t *testing.T) scenarios {
	t.Helper()
	s := scenarios{newContainers(t)}
	begun := time.Now()
	s.up()
	t.Logf("ready after %s", time.Since(begun).Round(100*time.Millisecond))
	return s
}

func (s scenarios) step(name string, f func(*containers)) {
	s.t.Run(name, func(t *testing.T) {
		part := *s.containers
		part.t = t
		f(&part)
	})
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func (s scenarios) underLoad(name string, f func(*containers)) {
	s.step(name, func(c *containers) {
		end := trafficOn(&c.api)
		f(c)
		end()
		onlyWanted(c)
	})
}

// The scenarios of replicas on containers, and what only containers have.
func TestE2E(t *testing.T) {
	t.Parallel()
	s := startScenarios(t)
	if !strings.Contains(s.out.String(), "\nready  http "+s.http+"  admin ") {
		t.Errorf("up wrote %q", s.out)
	}
	s.step("SpeaksTheCourseAPI", speaksTheCourseAPI)
	s.step("IsRestricted", isRestricted)
	s.step("UpIsIdempotent", upIsIdempotent)
	s.underLoad("KilledReplica", func(c *containers) { killedReplicas(c, 3) })
	s.underLoad("PausedReplica", pausedReplica)
	if full {
		s.underLoad("ReplicaCutFromItsNetwork", cutReplica)
	}
	s.step("DownKeepsData", func(c *containers) { restartKeepsReplicas(c) })
}

// The scenarios of roles on containers.
func TestE2E_Roles(t *testing.T) {
	t.Parallel()
	s := startScenarios(t)
	s.underLoad("CrashedRolesComeBack", func(c *containers) { crashedRoles(c, "controller", "bus", "host-1") })
	s.step("KilledControllerAndBus", killedControllerAndBus)
	s.underLoad("KilledAgent", killedAgent)
	s.underLoad("PausedAgent", func(c *containers) {
		host := "host-3"
		for _, h := range containerHosts {
			if len(c.runningOn(host)) == 0 {
				host = h
			}
		}
		pausedAgent(c, host, 40*time.Second, c.patience())
	})
}

func speaksTheCourseAPI(c *containers) {
	f := func(method, path, body string, want ...string) {
		c.t.Helper()
		code, got, err := call(method, c.http+path, body)
		if err != nil || code != http.StatusOK {
			c.t.Errorf("%s %s: %d %s %v", method, path, code, got, err)
		}
		for _, w := range want {
			if !strings.Contains(got, w) {
				c.t.Errorf("%s %s: %s, want %s", method, path, got, w)
			}
		}
	}
	f("GET", "/home", "", "Hello from Server: web-")
	f("GET", "/rep", "", `"N":3`)
	f("POST", "/add", `{"n":2,"hostnames":["S5","S4"]}`, `"N":5`, `"S5"`, `"S4"`)
	if !slices.Contains(c.running(), "S5") {
		c.t.Error("no container runs S5")
	}
	f("DELETE", "/rm", `{"n":2,"hostnames":["S5","S4"]}`, `"N":3`)
	onlyWanted(c)
}

func isRestricted(c *containers) {
	const format = `{{.HostConfig.Privileged}} {{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.SecurityOpt}}`
	for _, id := range strings.Fields(c.docker("ps", "-q", "--filter", "name="+c.id)) {
		if got := c.docker("inspect", "--format", format, id); got != "false [ALL] true [no-new-privileges:true]" {
			c.t.Errorf("%s: %s", c.docker("inspect", "--format", "{{.Name}}", id), got)
		}
	}
	for _, name := range c.running() {
		got := c.docker("inspect", "--format", `{{.Config.User}} {{.HostConfig.RestartPolicy.Name}} {{len .Mounts}} {{.HostConfig.Binds}} {{len .HostConfig.PortBindings}}`, c.instance(name))
		if got != "65534:65534 no 0 [] 0" {
			c.t.Errorf("%s: %s", name, got)
		}
	}
	for service, socket := range map[string]bool{"bus": false, "controller": false, "router": false, "host-1": true} {
		if got := c.docker("inspect", "--format", "{{range .Mounts}}{{.Source}} {{end}}", c.role(service)); strings.Contains(got, "docker.sock") != socket {
			c.t.Errorf("%s mounts %s", service, got)
		}
	}
	if ports := c.docker("ps", "--filter", "name="+c.id, "--format", "{{.Ports}}"); strings.Contains(ports, "0.0.0.0:") || strings.Contains(ports, ":::") {
		c.t.Errorf("open to others: %s", ports)
	}
	if size := c.docker("image", "inspect", "--format", "{{.Size}}", c.image); len(size) > 8 || size > "40000000" {
		c.t.Errorf("the image has %s bytes", size)
	} else {
		c.t.Logf("the image has %s bytes", size)
	}
}

func upIsIdempotent(c *containers) {
	list := func() string { return c.docker("ps", "-q", "--no-trunc", "--filter", "name="+c.id) }
	before := list()
	c.up()
	if after := list(); after != before {
		c.t.Errorf("containers before:\n%s\nafter:\n%s", before, after)
	}
}

// A paused replica is given half a minute, and then replaced.
func pausedReplica(c *containers) {
	names, err := c.rep()
	testkit.Must(c.t, err)
	c.docker("pause", c.instance(names[0]))
	if full {
		out, restored := without(c, names[:1], 3)
		c.t.Logf("docker pause of a replica: out of rotation after %s, restored after %s", ms(out), ms(restored))
		return
	}
	out, _ := without(c, names[:1], 2)
	c.docker("unpause", c.instance(names[0]))
	back := eventually(c.t, 40*time.Second, func() error {
		if now, err := c.rep(); err != nil || !slices.Contains(now, names[0]) {
			return fmt.Errorf("%v serve (%v)", now, err)
		}
		return nil
	})
	c.t.Logf("docker pause of a replica: out of rotation after %s, back %s after unpause", ms(out), ms(back))
}

func cutReplica(c *containers) {
	names, err := c.rep()
	testkit.Must(c.t, err)
	c.docker("network", "disconnect", "-f", c.id, c.instance(names[0]))
	out, restored := without(c, names[:1], 3)
	c.t.Logf("a replica cut from its network: out of rotation after %s, restored after %s", ms(out), ms(restored))
}

// The engine takes docker kill for a person's decision and starts nothing;
// `up` does.
func killedControllerAndBus(c *containers) {
	for _, role := range []string{"controller", "bus"} {
		before, err := c.rep()
		testkit.Must(c.t, err)
		end := trafficOn(&c.api)
		c.docker("kill", c.role(role))
		for range 20 {
			if err := c.served(); err != nil {
				c.t.Errorf("without %s: %v", role, err)
			}
		}
		begun := time.Now()
		c.up()
		c.t.Logf("docker kill of the %s: whole again %s after `up` was called", role, ms(time.Since(begun)))
		if after, err := c.rep(); err != nil || !sameSet(before, after) {
			c.t.Errorf("without %s: before %v, after %v (%v)", role, before, after, err)
		}
		end()
	}
}

// `up` starts the agent again, which ends what was replaced meanwhile.
func killedAgent(c *containers) {
	gone := c.runningOn("host-2")
	c.docker("kill", c.role("host-2"))
	out, restored := without(c, gone, 3)
	c.t.Logf("docker kill of an agent: out of rotation after %s, restored after %s", ms(out), ms(restored))
	c.up()
}

const tableOfThree = `{"N":3,"schema":{"columns":["Stud_id","Stud_name","Stud_marks"],"dtypes":["Number","String","String"]},` +
	`"shards":[{"Stud_id_low":0,"Shard_id":"sh1","Shard_size":4096},{"Stud_id_low":4096,"Shard_id":"sh2","Shard_size":4096}],` +
	`"servers":{"Server0":["sh1","sh2"],"Server1":["sh1","sh2"],"Server2":["sh1","sh2"]}}`

// The database on containers: a killed server's successor has its volume, and
// what was written outlives it, and down and up.
func TestE2E_Database(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	c.up()
	c.init(tableOfThree)
	volumes, volume := c.shardVolumes(), c.volumeOf("Server0")
	if len(volumes) != 3 {
		t.Fatalf("volumes: %v", volumes)
	}
	killedShardServer(c, "Server0", func() { c.docker("kill", c.instance("Server0")) })
	if now := c.docker("ps", "--filter", "label=io.ringway.volume="+volume, "--format", `{{.Label "io.ringway.instance"}}`); now == "" || strings.Contains(now, "Server0") {
		t.Errorf("the volume of Server0 is with %q", now)
	}
	if now := c.shardVolumes(); !slices.Equal(now, volumes) {
		t.Errorf("volumes before %v, after %v", volumes, now)
	}
	restartKeepsRows(c)
}

// P1 to P4 on containers, each with its own MySQL: nothing acknowledged is
// lost, nothing rejected is there, no update is lost or done twice, and all
// replicas are alike, whoever is killed or paused.
func TestE2E_DatabaseSet(t *testing.T) {
	t.Parallel()
	c := newContainers(t)
	begun := time.Now()
	since := func() string { return time.Since(begun).Round(100 * time.Millisecond).String() }
	c.up()
	c.init(faultTable(t))
	t.Logf("the database serves after %s, on %s", since(), c.engineOfShards())
	during := harmDuring()
	if os.Getenv("RINGWAY_HARM_FOR") == "" && !long() {
		during = 20 * time.Second
		if full {
			during = time.Minute
		}
	}
	set, count := setTest(t, c, c.url, allHarm(), during, 500*time.Millisecond, nil)
	t.Logf("harm done until %s", since())
	healed := time.Now()
	found := c.settled(set.client)
	t.Logf("settled after %s, %s after the last harm", since(), time.Since(healed).Round(100*time.Millisecond))
	set.askOpen(t)
	report(t, set.check(t, found, isCounter))
	report(t, count.check(t, found))
}

// faultTable is the table of the fault tests as the course's API has it.
func faultTable(t *testing.T) string {
	t.Helper()
	type shard struct {
		Low  int64  `json:"Stud_id_low"`
		ID   string `json:"Shard_id"`
		Size int64  `json:"Shard_size"`
	}
	body := map[string]any{"N": dbServers, "schema": dbSchema}
	var shards []shard
	for _, s := range shardsOfTable() {
		shards = append(shards, shard{s.Low, s.ID, s.Size})
	}
	servers := map[string][]string{}
	for i := range dbServers {
		for k := range dbReplicas {
			name := fmt.Sprintf("Server%d", i)
			servers[name] = append(servers[name], shardName((i+k)%dbShards))
		}
	}
	body["shards"], body["servers"] = shards, servers
	b, err := json.Marshal(body)
	testkit.Must(t, err)
	return string(b)
}

// engineOfShards looks at what runs beside a shard server.
func (c *containers) engineOfShards() string {
	c.t.Helper()
	runs := c.docker("top", c.instance("Server0"), "-eo", "pid,args")
	for _, engine := range []string{"mysqld", "mariadbd"} {
		if strings.Contains(runs, "/"+engine+" ") {
			return engine
		}
	}
	if os.Getenv("CI") != "" {
		c.t.Errorf("no database server runs in a shard server's container:\n%s", runs)
	}
	return "SQLite: no database server can be had"
}

// settled waits until every replica is ready and `ringway verify` finds them
// equal, and returns what they hold.
func (c *containers) settled(client *dbClient) map[int][]check.Replica {
	c.t.Helper()
	var servers []string
	eventually(c.t, 3*time.Minute, func() (err error) {
		if servers, err = c.readyServers(dbShards, dbReplicas); err == nil && len(servers) != dbServers {
			err = fmt.Errorf("shards are on %v", servers)
		}
		return err
	})
	err := try(time.Minute, func() error {
		out, errs, exit := c.run("verify")
		if exit != 0 {
			return fmt.Errorf("verify: exit %d: %s%s", exit, out, errs)
		}
		return nil
	})
	if err != nil {
		c.t.Error(err) // and see what is wrong
	}
	found := map[int][]check.Replica{}
	eventually(c.t, time.Minute, func() error {
		clear(found)
		for _, server := range servers {
			held, err := client.held(server)
			if err != nil {
				return err
			}
			for i, r := range held {
				found[i] = append(found[i], r)
			}
		}
		return nil
	})
	for i := range dbShards {
		if len(found[i]) != dbReplicas {
			c.t.Errorf("%s is on %d servers", shardName(i), len(found[i]))
		}
	}
	return found
}
