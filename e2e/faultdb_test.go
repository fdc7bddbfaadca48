package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringway/e2e/check"
	"ringway/events"
	"ringway/events/bus"
	"ringway/events/shardapi"
)

// The table of the fault tests: four shards, three replicas of each, on four
// servers.
const (
	dbShards    = 4
	dbShardSize = 1 << 30
	dbServers   = 4
	dbReplicas  = 3
)

// dbSchema is what the table has for columns.
var dbSchema = events.Schema{
	Columns: []string{"Stud_id", "Stud_name", "Stud_marks"},
	DTypes:  []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
}

// shardsOfTable are its shards as the contract has them: shard i keeps the keys
// from i·dbShardSize up to the next.
func shardsOfTable() []events.Shard {
	shards := make([]events.Shard, dbShards)
	for i := range shards {
		shards[i] = events.Shard{ID: shardName(i), Low: int64(i) * dbShardSize, Size: dbShardSize}
	}
	return shards
}

func shardName(i int) string { return fmt.Sprintf("sh%d", i+1) }

// shardOf is the number of the shard that keeps a key.
func shardOf(key int64) int { return int(key / dbShardSize) }

// firstCounter begins the keys of each shard that are for counters.
const firstCounter = dbShardSize - 1000

func isCounter(key int64) bool { return key%dbShardSize >= firstCounter }

func counterKey(i int) int64 { return int64(i%dbShards)*dbShardSize + firstCounter + int64(i/dbShards) }

// builds are binaries without the race detector, which is too slow for load.
var builds struct {
	mu    sync.Mutex
	dir   string
	ready map[string]string
}

// buildRingway makes the binary with some tags, of the same parts as the images
// of the tests of containers.
func buildRingway(t *testing.T, tags string) string {
	t.Helper()
	if path := os.Getenv(brokenBinaryEnv); path != "" {
		return path
	}
	return build(t, "ringway", tags)
}

// build makes the binary of a package with some tags, once.
func build(t *testing.T, pkg, tags string) string {
	t.Helper()
	builds.mu.Lock()
	defer builds.mu.Unlock()
	path, ok := builds.ready[pkg+tags]
	if ok {
		return path
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "ringway-build-")
		if err != nil {
			t.Fatal(err)
		}
		builds.dir, builds.ready = dir, map[string]string{}
	}
	path = filepath.Join(builds.dir, filepath.Base(pkg)+tags)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	builds.ready[pkg+tags] = path
	return path
}

// dbOptions are the settings of the database that a test starts.
type dbOptions struct {
	engine string   // default sqlite
	tags   string   // of the build
	env    []string // of all its processes
	data   string   // default: a directory of the test
	hosts  int      // default 1
	race   bool     // the binary with the race detector
}

// faultDB is a running cluster with the table.
type faultDB struct {
	*cluster
	o      dbOptions
	binary string // empty: this one
}

func startDatabase(t *testing.T, o dbOptions) *faultDB {
	t.Helper()
	if o.engine == "" {
		o.engine = "sqlite"
	}
	if o.data == "" {
		o.data = t.TempDir()
	}
	d := &faultDB{o: o}
	d.boot(t)
	if err := d.init(); err != nil {
		t.Fatal(err)
	}
	return d
}

// command is a command of the binary that the database runs.
func (d *faultDB) command(id string, args ...string) *exec.Cmd {
	path := d.binary
	if path == "" {
		path = os.Args[0]
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), testEnv+"="+id, "GORACE="+raceOptions)
	cmd.Env = append(cmd.Env, d.o.env...)
	return cmd
}

// boot runs `up` on what the data directory holds.
func (d *faultDB) boot(t *testing.T) {
	t.Helper()
	d.begin(t)
	d.ready()
}

// begin is boot that does not wait until all is ready.
func (d *faultDB) begin(t *testing.T) {
	t.Helper()
	if !d.o.race {
		d.binary = buildRingway(t, d.o.tags)
	}
	args := []string{"--hosts", strconv.Itoa(max(d.o.hosts, 1))}
	if isBroken() {
		args = append(args, "--start-timeout", patience(time.Minute).String())
	}
	d.cluster = begin(t, d.o.data, d.command, args...)
}

// init makes the table by the leader's API, which knows of engines.
func (d *faultDB) init() error {
	req := events.InitRequest{ID: "init-" + d.id, N: dbServers, Replicas: dbReplicas, Engine: d.o.engine}
	req.Table = events.Table{Name: events.DefaultTable, Schema: dbSchema, Shards: shardsOfTable()}
	for i := range dbServers {
		p := events.Placement{Name: fmt.Sprintf("Server%d", i)}
		for k := range dbReplicas {
			p.Shards = append(p.Shards, shardName((i+k)%dbShards))
		}
		req.Servers = append(req.Servers, p)
	}
	conn, err := d.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return try(2*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		var reply events.ServersReply
		return conn.Request(ctx, events.APIInit, req, &reply)
	})
}

func (d *faultDB) connect() (*bus.Conn, error) {
	cfg := bus.DefaultConfig()
	cfg.URL = d.nats
	return bus.Connect(d.t.Context(), cfg, slog.New(slog.DiscardHandler))
}

// killAll ends every process of the machine at one moment, as far as one can.
func (d *faultDB) killAll() {
	d.t.Helper()
	for _, pid := range append([]int{d.cmd.Process.Pid}, d.others()...) { // `up` first, which would restart the others
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
	}
	<-d.ended
	eventually(d.t, 20*time.Second, func() error {
		left := d.others()
		for _, pid := range left { // begun in the meantime
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) > 0 {
			return fmt.Errorf("%v live still", processesOf(d.id))
		}
		return nil
	})
}

// others are the processes of the machine but `up`.
func (d *faultDB) others() (pids []int) {
	for _, p := range processesOf(d.id) {
		if pid, err := strconv.Atoi(strings.Fields(p)[0]); err == nil && pid != d.cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// find implements target.
func (d *faultDB) find(kind string) (pids []string) {
	for _, p := range processesOf(d.id) {
		f := strings.Fields(p)
		if len(f) < 3 {
			continue
		}
		server := strings.HasSuffix(f[1], "/mysqld") || strings.HasSuffix(f[1], "/mariadbd")
		if f[2] == kind || kind == databaseServers && server {
			pids = append(pids, f[0])
		}
	}
	return pids
}

// kill implements target: `up` starts it again.
func (d *faultDB) kill(_ context.Context, pid string) bool { return signal(pid, syscall.SIGKILL) }

// pause implements target.
func (d *faultDB) pause(pid string) (resume func()) {
	if !signal(pid, syscall.SIGSTOP) {
		return nil
	}
	return func() { signal(pid, syscall.SIGCONT) }
}

// maxPause implements target.
func (d *faultDB) maxPause() time.Duration { return 3 * time.Second }

// signal reports whether the process was there.
func signal(pid string, sig syscall.Signal) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && syscall.Kill(n, sig) == nil
}

// harms are all that can be done to processes.
func (d *faultDB) harms() []harm {
	all := append(allHarm(), fullDisk())
	if d.o.engine == "mysql" {
		all = append(all, kill(databaseServers), stop(databaseServers), kill(databaseServers), stop(databaseServers))
	}
	return all
}

// fullDisk lets no file of a shard server grow for a while.
func fullDisk() harm {
	return harm{"full disk", func(ctx context.Context, n *nemesis) bool {
		pid, err := strconv.Atoi(n.one("shard"))
		limit := func(bytes uint64) bool {
			return err == nil && unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil) == nil
		}
		if !limit(0) {
			return false
		}
		defer limit(unix.RLIM_INFINITY)
		wait(ctx, n.between(100*time.Millisecond, time.Second))
		return true
	}}
}

// replicas reads every copy of every shard, each at the end of its log.
func (d *faultDB) replicas() (map[int][]check.Replica, error) {
	conn, err := d.connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	bucket, err := conn.Bucket(ctx, events.BucketRoutes)
	if err != nil {
		return nil, err
	}
	entries, err := bucket.Entries(ctx)
	if err != nil {
		return nil, err
	}
	found := map[int][]check.Replica{}
	for _, e := range entries {
		if e.Key != events.TableKey(events.DefaultTable) {
			continue
		}
		route, err := events.DecodeTableRoute(e.Value)
		if err != nil {
			return nil, err
		}
		for i, s := range route.Shards {
			log, err := conn.Log(route.LogID(s)).State(ctx)
			if err != nil {
				return nil, err
			}
			for _, replica := range s.Replicas {
				server, _ := route.Server(replica.Server)
				rows, err := shardRows(server.Address, s, i, log.Last)
				if err != nil {
					return nil, fmt.Errorf("%s on %s: %w", s.Shard, server.Name, err)
				}
				found[i] = append(found[i], check.Replica{Name: s.Shard + " on " + server.Name, Rows: rows})
			}
		}
	}
	if len(found) != dbShards {
		return nil, fmt.Errorf("the route has %d shards", len(found))
	}
	return found, nil
}

// shardRows asks a shard server itself.
func shardRows(address string, s events.ShardRoute, i int, minSeq uint64) (rows []check.Row, err error) {
	url := fmt.Sprintf("http://%s%s?log=%s&floor=%d&low=%d&high=%d", address, shardapi.Path(events.DefaultTable, s.Shard, "rows"),
		s.Log.Incarnation, minSeq, i*dbShardSize, (i+1)*dbShardSize-1)
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) > 0 && line[0] == shardapi.End {
			var seq uint64
			var count int
			if _, err := fmt.Sscanf(string(line[1:]), "%d %d", &seq, &count); err != nil || count != len(rows) || seq < minSeq {
				return nil, fmt.Errorf("ends with %q after %d rows, want seq %d: %v", line, len(rows), minSeq, err)
			}
			return rows, nil
		}
		if len(line) > 0 && line[0] == shardapi.Seq {
			continue
		}
		row, err := parseRow(line)
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %d %s (%v)", url, resp.StatusCode, line, err)
		}
		rows = append(rows, row)
	}
	return nil, errors.Join(fmt.Errorf("%s: cut off after %d rows", url, len(rows)), lines.Err())
}

// settled waits until `ringway verify` finds all replicas equal, and returns
// what they hold.
func (d *faultDB) settled() map[int][]check.Replica {
	d.t.Helper()
	begun := time.Now()
	err := try(patience(3*time.Minute), func() error {
		out, errs, exit := d.run("verify")
		if exit == 0 {
			return nil
		}
		err := fmt.Errorf("verify: exit %d: %s%s", exit, out, errs)
		switch { // a broken promise shows in what no waiting mends
		case isBroken() && strings.Contains(errs, "there is no database"):
			d.t.Fatal(err)
		case isBroken() && strings.Contains(out, "DIFFERENT at seq"):
			d.t.Error(err)
			return nil
		}
		return err
	})
	if err != nil {
		d.t.Error(err) // and see what is wrong
	}
	var found map[int][]check.Replica
	eventually(d.t, patience(2*time.Minute), func() (err error) {
		found, err = d.replicas()
		return err
	})
	d.t.Logf("all replicas agree after %s", time.Since(begun).Round(time.Millisecond))
	for i := range dbShards {
		if len(found[i]) < dbReplicas {
			d.t.Errorf("%s has %d replicas", shardName(i), len(found[i]))
		}
	}
	return found
}

// patience is d, but where a broken build is at work there is nothing to hope
// for.
func patience(d time.Duration) time.Duration {
	if isBroken() {
		return min(d, 20*time.Second)
	}
	return d
}
