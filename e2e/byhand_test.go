package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/server"
)

// byHand is a table on shard servers and a router that nobody supervises: the
// test is their controller.
type byHand struct {
	*faultDB
	conn  *bus.Conn
	route events.TableRoute

	mu      sync.Mutex
	servers []*handServer
}

// handServer is one `ringway shard`, over all its lives.
type handServer struct {
	name string
	args []string
	env  []string

	mu      sync.Mutex
	cmd     *exec.Cmd
	ended   chan struct{}
	stderr  *syncBuffer
	address string
}

func startByHand(t *testing.T) *byHand {
	t.Helper()
	cfg := server.DefaultConfig()
	cfg.Listen, cfg.Store = "127.0.0.1:0", t.TempDir()
	server, err := server.Start(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	h := &byHand{faultDB: &faultDB{cluster: &cluster{api: api{t: t, id: t.Name() + strconv.FormatInt(time.Now().UnixNano(), 36), nats: server.URL()}}}}
	if h.conn, err = h.connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.conn.Close)
	h.route.Table = events.Table{Name: events.DefaultTable, Schema: events.Schema{
		Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{events.DTypeNumber, events.DTypeString, events.DTypeString},
	}}
	for i := range dbShards {
		h.route.Table.Shards = append(h.route.Table.Shards, events.Shard{ID: shardName(i), Low: int64(i) * dbShardSize, Size: dbShardSize})
		log := events.ShardLog{Shard: shardName(i), Incarnation: fmt.Sprint("log", i), Made: true}
		if _, err := h.conn.CreateLog(t.Context(), events.LogID{Table: events.DefaultTable, Shard: log.Shard, Incarnation: log.Incarnation}, 0); err != nil {
			t.Fatal(err)
		}
		h.route.Shards = append(h.route.Shards, events.ShardRoute{Shard: log.Shard, Log: log})
	}
	h.startRouter()
	h.keepRouting()
	return h
}

// process starts a command, which ends with the test at the latest.
func (h *byHand) process(cmd *exec.Cmd) (stderr *syncBuffer, ended chan struct{}) {
	h.t.Helper()
	stderr, ended = &syncBuffer{}, make(chan struct{})
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(ended) }() // how it ended is in ProcessState
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			h.t.Errorf("%v does not end", cmd.Args[1:])
			_ = cmd.Process.Kill()
			<-ended
		}
		if h.t.Failed() {
			output := stderr.String()
			h.t.Logf("%v:\n%s", cmd.Args[1:4], output[max(0, len(output)-6000):])
		}
	})
	return stderr, ended
}

func (h *byHand) startRouter() {
	h.t.Helper()
	cmd := ringway(h.id, "router", "--nats", h.nats, "--listen-fd", "3", "--admin-fd", "4")
	for i := range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			h.t.Fatal(err)
		}
		if i == 0 {
			h.http = "http://" + l.Addr().String()
		}
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			h.t.Fatal(err)
		}
		_ = l.Close() // the file is another descriptor of it
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	h.process(cmd)
}

// add starts a shard server, and puts it on the route.
func (h *byHand) add(name string, env []string, args ...string) *handServer {
	h.t.Helper()
	s := &handServer{name: name, env: env, args: append([]string{"shard", "--id", name, "--nats", h.nats, "--listen", "127.0.0.1:0"}, args...)}
	h.start(s)
	h.mu.Lock()
	h.servers = append(h.servers, s)
	h.mu.Unlock()
	return s
}

var listens = regexp.MustCompile(`shard server listens.*address=(\S+)`)

func (h *byHand) start(s *handServer) {
	h.t.Helper()
	cmd := ringway(h.id, s.args...)
	cmd.Env = append(cmd.Env, s.env...)
	stderr, ended := h.process(cmd)
	var address string
	eventually(h.t, 30*time.Second, func() error {
		if m := listens.FindStringSubmatch(stderr.String()); m != nil {
			address = m[1]
			return nil
		}
		return fmt.Errorf("%s does not listen", s.name)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.stderr, s.ended, s.address = cmd, stderr, ended, address
}

// kill ends a shard server as kill -9 does.
func (s *handServer) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// status is what a shard server reports; false if it does not answer.
func (s *handServer) status() (b events.ShardHeartbeat, address string, ok bool) {
	s.mu.Lock()
	address = s.address
	s.mu.Unlock()
	short := &http.Client{Timeout: time.Second}
	resp, err := short.Get("http://" + address + "/v1/status")
	if err != nil {
		return b, address, false
	}
	defer resp.Body.Close()
	return b, address, json.NewDecoder(resp.Body).Decode(&b) == nil
}

// keepRouting keeps the route up to date with who is ready, until the test ends.
// The last server on it that is ready is the responder.
func (h *byHand) keepRouting() {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	h.t.Cleanup(func() { cancel(); work.Wait() })
	work.Go(func() {
		var epoch events.Version
		var last string
		for ; ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
			value, err := h.judge()
			if err != nil || string(value) == last {
				continue
			}
			bucket, err := h.conn.Bucket(ctx, events.BucketRoutes)
			if err == nil && epoch.Zero() {
				epoch, err = bucket.Create(ctx, events.TableKey(events.DefaultTable), value)
			} else if err == nil {
				epoch, err = bucket.Update(ctx, events.TableKey(events.DefaultTable), value, epoch)
			}
			if err == nil {
				last = string(value)
			}
		}
	})
}

func (h *byHand) judge() ([]byte, error) {
	h.mu.Lock()
	servers := slices.Clone(h.servers)
	h.mu.Unlock()
	route := h.route
	route.Servers, route.Shards = nil, slices.Clone(h.route.Shards)
	for i, s := range servers {
		b, address, _ := s.status()
		line := events.TableServer{Name: s.name, ID: i + 1, Address: address}
		for k := range route.Shards {
			sh := &route.Shards[k]
			line.Shards = append(line.Shards, sh.Shard)
			r, _ := b.Replica(events.DefaultTable, sh.Shard)
			ready := r.State == events.ReplicaReady
			sh.Replicas = append(slices.Clip(sh.Replicas), events.ShardReplica{Server: s.name, Ready: ready})
			if ready {
				sh.Responder = s.name
			}
		}
		route.Servers = append(route.Servers, line)
	}
	if len(servers) == 0 {
		return nil, errors.New("nobody is there")
	}
	return json.Marshal(route)
}

// ready waits until all replicas of a server are.
func (h *byHand) ready(s *handServer) {
	h.t.Helper()
	eventually(h.t, time.Minute, func() error {
		b, _, _ := s.status()
		if len(b.Replicas) != dbShards {
			return fmt.Errorf("%s has %d replicas; %s", s.name, len(b.Replicas), b.Detail)
		}
		for _, r := range b.Replicas {
			if r.State != events.ReplicaReady {
				return fmt.Errorf("%s on %s is %s: %s", r.Shard, s.name, r.State, r.Detail)
			}
		}
		return nil
	})
}

// away waits until a server has seen that its database is gone.
func (h *byHand) away(s *handServer) {
	h.t.Helper()
	eventually(h.t, 30*time.Second, func() error {
		b, _, _ := s.status()
		if !slices.ContainsFunc(b.Replicas, func(r events.ReplicaStatus) bool { return r.State != events.ReplicaReady }) {
			return fmt.Errorf("all replicas of %s are ready", s.name)
		}
		return nil
	})
}

// awaitDetail waits until a server reports why it cannot begin.
func (h *byHand) awaitDetail(s *handServer, words ...string) {
	h.t.Helper()
	eventually(h.t, 30*time.Second, func() error {
		b, _, _ := s.status()
		for _, w := range words {
			if !strings.Contains(b.Detail, w) {
				return fmt.Errorf("%s reports %q, not %q", s.name, b.Detail, w)
			}
		}
		return nil
	})
	if output := s.stderr.String(); strings.Contains(output, "s3cret") {
		h.t.Errorf("it prints the password: %s", output)
	}
}
