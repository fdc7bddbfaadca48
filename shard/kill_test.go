package shard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/rowjson"
	"ringway/events/shardlog"
	"ringway/internal/failpoint"
	"ringway/internal/testkit"
	"ringway/shard"
	"ringway/shard/mysql/mysqldtest"
	"ringway/shard/replica"
	"ringway/shard/volume"
)

const childEnv = "SHARD_TEST_CHILD"

// serveChild is the main of a shard server that a test kills: name, bus,
// directory, engine. It ends with its standard input.
func serveChild(args []string) {
	fatal := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg := bus.DefaultConfig()
	cfg.URL = args[1]
	conn, err := bus.Connect(context.Background(), cfg, log)
	fatal(err)
	where := volume.DefaultConfig(args[2])
	where.Engine = args[3]
	vol := volume.New(where, log)
	server := shard.DefaultConfig()
	server.ID, server.MaxReplaySeq, server.RetryMin = args[0], 0, 50*time.Millisecond
	server.Listener, err = net.Listen("tcp", "127.0.0.1:0")
	fatal(err)
	fmt.Println(server.Listener.Addr())
	bucket, err := conn.Bucket(context.Background(), events.BucketRoutes)
	fatal(err)
	s, err := shard.New(server, vol.Open, func(id events.LogID) replica.Log { return conn.Log(id) }, bucket, conn, log)
	fatal(err)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	err = s.Run(ctx)
	fatal(errors.Join(err, vol.Close()))
}

// spawn makes n a process that fails at a point; n.stop ends it.
func (n *node) spawn(engine, failing string) (ended <-chan error) {
	n.c.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // it is stopped gracefully
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{n.name, n.c.bus.URL(), n.dir, engine}, " "), failpoint.Variable+"="+failing)
	cmd.Stderr = n.c.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		n.c.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		n.c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.c.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		n.c.Fatal(err)
	}
	n.addr = strings.TrimSpace(line)
	if n.front == "" {
		n.front = n.c.newFront(n)
	}
	done := make(chan error, 1)
	gone := make(chan struct{})
	go func() { done <- cmd.Wait(); close(gone) }()
	n.stop = sync.OnceFunc(func() { _ = stdin.Close(); <-gone })
	n.c.Cleanup(n.stop)
	return done
}

// killed demands that a process ended as kill -9 ends one.
func killed(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the fail point was not met")
	}
}

// verify demands that all named replicas say the same at a new marker, with so
// many rows.
func (c *cluster) verify(rows int64, names ...string) {
	c.Helper()
	marker := fmt.Sprintf("marker-%d", time.Now().UnixNano())
	c.append(marker, shardlog.Op{Kind: shardlog.OpDigest})
	got := map[string]shardlog.StateDigest{}
	for deadline := time.After(time.Minute); len(got) < len(names); {
		select {
		case d := <-c.digests:
			if d.Batch == marker {
				got[d.Server] = d.State
			}
		case <-deadline:
			c.Fatalf("only %d of %v say anything", len(got), names)
		}
	}
	for _, name := range names {
		if d := got[name]; d != got[names[0]] || d.Rows != rows {
			c.Errorf("%s is %+v, %s %+v; want %d rows", name, d, names[0], got[names[0]], rows)
		}
	}
}

func TestServer_KilledAnywhereLosesAndDoublesNothing(t *testing.T) {
	for _, engine := range []string{volume.SQLite, volume.MySQL} {
		for _, point := range []string{"before-commit:5", "after-commit:5", "before-result:5"} {
			t.Run(engine+" "+point, func(t *testing.T) {
				t.Parallel() // it mostly waits for processes
				needs(t, engine)
				c := newCluster(t, "s1")
				n := &node{c: c, name: "s2", dir: t.TempDir()}
				c.nodes["s2"] = n
				ended := n.spawn(engine, point)
				c.keep("s2*", "s1*") // the one that dies answers writers
				n.is(events.ReplicaReady)
				c.nodes["s1"].is(events.ReplicaReady)
				const rows = 20
				written := make(chan error, rows)
				go func() { // one after another: a transaction each
					for key := range int64(rows) {
						written <- c.write(key)
					}
				}()
				killed(t, ended)
				c.keep("s1*", "s2") // which has s1 publish what s2 did not
				for range rows {
					if err := <-written; err != nil {
						t.Error(err)
					}
				}
				n.spawn(engine, "")
				c.keep("s1*", "s2")
				n.is(events.ReplicaReady)
				c.verify(rows, "s1", "s2")
			})
		}
	}
}

// write inserts a row; a write whose outcome is unknown is an error.
func (c *cluster) write(key int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := c.writer.Do(ctx, c.log, &shardlog.Op{Kind: shardlog.OpInsert, Rows: []rowjson.Row{{rowjson.Int(key), rowjson.Text("x")}}})
	if err == nil && r.Outcome != shardlog.Done {
		err = fmt.Errorf("row %d: %+v", key, r)
	}
	return err
}

func TestServer_KilledWhileItIsFilled(t *testing.T) {
	for _, engine := range []string{volume.SQLite, volume.MySQL} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			needs(t, engine)
			c := newCluster(t, "s1")
			c.keep("s1*")
			c.nodes["s1"].is(events.ReplicaReady)
			c.insert(0, 600)
			n := &node{c: c, name: "s2", dir: t.TempDir()}
			c.nodes["s2"] = n
			ended := n.spawn(engine, "copy:2")
			c.keep("s1*", "s2")
			killed(t, ended)
			n.spawn(engine, "")
			c.keep("s1*", "s2")
			n.is(events.ReplicaReady)
			c.verify(600, "s1", "s2")
		})
	}
}

func TestServer_ADonorIsKilledInTheMiddle(t *testing.T) {
	c := newCluster(t, "s1")
	n := &node{c: c, name: "s2", dir: t.TempDir()}
	c.nodes["s2"] = n
	ended := n.spawn(volume.SQLite, "copy-out")
	c.keep("s2*")
	n.is(events.ReplicaReady)
	c.insert(0, 600)
	c.nodes["s1"].restart(always)
	c.keep("s2*", "s1")
	killed(t, ended)
	n.spawn(volume.SQLite, "")
	c.keep("s2*", "s1")
	n.is(events.ReplicaReady)
	c.nodes["s1"].is(events.ReplicaReady)
	c.verify(600, "s1", "s2")
}

// needs skips where an engine cannot be had, except where it has to be.
func needs(t *testing.T, engine string) {
	t.Helper()
	if engine == volume.MySQL {
		mysqldtest.Find(t)
	}
}

func TestServer_GoesOnAfterItsDatabaseServerCrashed(t *testing.T) {
	mysqldtest.Find(t)
	c := newCluster(t, "s1")
	n := c.nodes["s1"]
	n.stop()
	where := volume.DefaultConfig(t.TempDir())
	where.Engine = volume.MySQL
	vol := volume.New(where, testkit.Quiet)
	t.Cleanup(func() { _ = vol.Close() })
	n.open = vol.Open
	n.start()
	c.keep("s1*")
	n.is(events.ReplicaReady)
	c.insert(0, 50)
	pid, err := os.ReadFile(filepath.Join(where.Dir, "mysql", "server.pid"))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	seq := c.insert(50, 100) // acknowledged when it is back
	n.is(events.ReplicaReady)
	c.verify(100, "s1")
	if r := n.replica(); r.Applied.Seq < seq {
		t.Errorf("it says %+v", r)
	}
	n.stop() // before its volume
}
