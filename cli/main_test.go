package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/agent/lifeline"
	"ringway/cli/client"
	"ringway/cli/config"
	"ringway/events"
	"ringway/events/shardlog"
	"ringway/events/streams"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain also plays `ringway` itself, with roles that are stand-ins: what is
// tested here is how they are run, not what they do.
func TestMain(m *testing.M) {
	switch os.Getenv("RINGWAY_CLI_TEST") {
	case "":
	case "leaderless":
		c := &cluster{answer: func(string, any, any) error { return events.ErrNoLeader }}
		os.Exit(Main(context.Background(), c.wiring(), os.Args[1:], Streams{Out: os.Stdout, Err: os.Stderr}))
	default:
		os.Exit(Main(context.Background(), stand(), os.Args[1:], Streams{Out: os.Stdout, Err: os.Stderr}))
	}
	goleak.VerifyTestMain(m)
}

// stand is a wiring whose bus is an HTTP server that counts who speaks to it.
func stand() Wiring {
	return Wiring{
		Bus: func(ctx context.Context, o BusOptions) error {
			return play(ctx, "bus", "", func(ctx context.Context) error { return standBus(ctx, o) })
		},
		Controller: func(ctx context.Context, o ControllerOptions) error {
			spec, err := o.Config.Overlay(events.ServiceSpec{Name: "web", Replicas: 5, Algorithm: events.Balanced, Slots: 64, Key: events.KeySource{From: "path"}, Health: "/", Timeout: 1})
			if err != nil {
				return err
			}
			more := []string{"replicas", fmt.Sprint(spec.Replicas)}
			for _, t := range o.Tables {
				more = append(more, "table", t.Request.Table.Name)
			}
			return play(ctx, "controller", o.NATS, heartbeat(o.NATS, "controller", more...))
		},
		Agent: func(ctx context.Context, o AgentOptions) error {
			return play(ctx, "agent", o.NATS, func(ctx context.Context) error { return standAgent(ctx, o) })
		},
		Router: func(ctx context.Context, o RouterOptions) error {
			return play(ctx, "router", o.NATS, func(ctx context.Context) error { return standRouter(ctx, o) })
		},
		Server: func(ctx context.Context, o ServerOptions) error {
			return play(ctx, "server", "", func(ctx context.Context) error { <-ctx.Done(); return nil })
		},
		RunCommand: func(_ context.Context, o CommandOptions) (int, error) { return len(o.Argv), nil },
		Dial: func(ctx context.Context, url string) (client.Cluster, error) {
			var name string
			err := httpCluster{url: url}.Request(ctx, "name", nil, &name)
			return httpCluster{url, name}, err
		},
	}
}

// play runs a role with the faults that the environment asks for, and writes
// down its life.
func play(ctx context.Context, role, nats string, f func(context.Context) error) error {
	trace := func(what string) {
		t, err := os.OpenFile(os.Getenv("STAND_TRACE"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return
		}
		fmt.Fprintln(t, what, role, os.Getpid(), strings.Join(os.Args[1:], " "))
		_ = t.Close()
	}
	trace("start")
	if os.Getenv("STAND_FAIL") == role {
		return errors.New("no luck today")
	}
	err := f(ctx)
	trace("stop")
	if os.Getenv("STAND_DEAF") == role {
		select {}
	}
	return err
}

func heartbeat(nats, role string, more ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		url := strings.Replace(nats, "nats://", "http://", 1) + "/beat?role=" + role
		for i := 0; i+1 < len(more); i += 2 {
			url += "&" + more[i] + "=" + more[i+1]
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if os.Getenv("STAND_SILENT") != role {
				if resp, err := http.Post(url, "", nil); err == nil {
					_ = resp.Body.Close()
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}
}

func standBus(ctx context.Context, o BusOptions) error {
	if other := os.Getenv("STAND_OTHER_BUS"); other != "" { // it was there first
		o.Name = other
	}
	var mu sync.Mutex
	var st events.Status
	mux := http.NewServeMux()
	mux.HandleFunc("/beat", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		epoch := events.Epoch{Incarnation: "x", Revision: 1}
		switch q := r.URL.Query(); q.Get("role") {
		case "controller":
			n := 0
			_, _ = fmt.Sscan(q.Get("replicas"), &n)
			st.Controller = "controller-1"
			st.Services = []events.ServiceStatus{{Name: "web", Wanted: n, Serving: n, Epoch: epoch}}
			st.Instances = nil
			if name := q.Get("table"); name != "" {
				st.Tables = []events.TableStatus{standTable(name)}
				st.Instances = append(st.Instances, events.InstanceReport{Name: "Server0", Service: name, State: events.Ready, Serving: true})
			}
			for i := range n {
				st.Instances = append(st.Instances, events.InstanceReport{Name: fmt.Sprintf("web-%d", i+1), State: events.Ready, Serving: true})
			}
		case "router":
			st.Routers = []events.RouterStatus{{ID: "router-1", Epochs: map[string]events.Epoch{"web": epoch}}}
		default:
			for _, h := range st.Hosts {
				if h.Name == q.Get("role") {
					return
				}
			}
			st.Hosts = append(st.Hosts, events.HostStatus{Name: q.Get("role"), State: events.Alive})
		}
	})
	mux.HandleFunc("/name", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(o.Name) })
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(st)
	})
	return serve(ctx, &http.Server{Addr: o.Listen, Handler: mux}, (*http.Server).ListenAndServe)
}

// standTable has two shards: one is ready, and so is the other, unless
// STAND_SHARDS is another state: for good, or until the file STAND_WHOLE is there.
func standTable(name string) events.TableStatus {
	second := events.ReplicaReport{Server: "Server0", State: events.ReplicaReady}
	if state := os.Getenv("STAND_SHARDS"); state != "" {
		if _, err := os.Stat(os.Getenv("STAND_WHOLE")); err != nil {
			second.State, second.Detail = state, "no luck today"
		}
	}
	return events.TableStatus{Name: name, Schema: config.CourseSchema(), Servers: []events.Placement{{Name: "Server0"}}, Shards: []events.ShardStatus{
		{Table: name, Shard: "sh1", Size: 9, Replicas: []events.ReplicaReport{{Server: "Server0", State: events.ReplicaReady}}},
		{Table: name, Shard: "sh2", Low: 9, Size: 9, Replicas: []events.ReplicaReport{second}},
	}}
}

func serve(ctx context.Context, s *http.Server, run func(*http.Server) error) error {
	failed := make(chan error, 1)
	go func() { failed <- run(s) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}

func standRouter(ctx context.Context, o RouterOptions) error {
	go func() { _ = heartbeat(o.NATS, "router")(ctx) }()
	go func() {
		admin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if os.Getenv("STAND_SILENT") == "router" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})}
		_ = admin.Serve(o.Admin)
	}()
	public := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })}
	return serve(ctx, public, func(s *http.Server) error {
		for _, l := range o.Public[1:] {
			go func() { _ = s.Serve(l) }()
		}
		return s.Serve(o.Public[0])
	})
}

// standAgent has one instance, which it finds again, and which it takes along
// only when its supervisor ends.
func standAgent(ctx context.Context, o AgentOptions) error {
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return err
	}
	pid, record := 0, filepath.Join(o.Data, "instance")
	if b, err := os.ReadFile(record); err == nil {
		_, _ = fmt.Sscan(string(b), &pid)
	}
	if pid == 0 || !running(pid) {
		cmd := exec.Command("/proc/self/exe", "server", "--id", "web-"+o.Host)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		o.Line.Attach(cmd)
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { _ = cmd.Wait() }()
		pid = cmd.Process.Pid
		if err := os.WriteFile(record, fmt.Append(nil, pid), 0o600); err != nil {
			return err
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !traced("start server "+fmt.Sprint(pid)) && ctx.Err() == nil { // so that tests can tell it ran
		<-tick.C
	}
	err := heartbeat(o.NATS, o.Host)(ctx)
	if errors.Is(context.Cause(ctx), lifeline.ErrClosed) {
		_ = os.Remove(record)
		for running(pid) { // it hangs on the same line
			<-tick.C
		}
	}
	return err
}

func traced(text string) bool {
	b, err := os.ReadFile(os.Getenv("STAND_TRACE"))
	return err != nil || bytes.Contains(b, []byte(text))
}

// httpCluster is the stand-in's client.
type httpCluster struct{ url, name string }

func (c httpCluster) Bus() string { return c.name }

func (c httpCluster) Streams(context.Context) ([]streams.Status, error) { return nil, nil }

func (c httpCluster) Request(ctx context.Context, verb string, _, reply any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Replace(c.url, "nats://", "http://", 1)+"/"+verb, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(reply); err != nil {
		return err
	}
	if st, ok := reply.(*events.Status); ok && st.Controller == "" {
		st.Controller = "nobody yet"
	}
	return nil
}

func (httpCluster) Routes(context.Context) ([]events.Entry, error) { return nil, nil }
func (httpCluster) History(context.Context, time.Time, bool, func(events.Event) error) error {
	return nil
}
func (httpCluster) Mark(context.Context, events.LogID) (string, uint64, error) {
	return "", 0, errors.New("no log here")
}
func (httpCluster) LogState(context.Context, events.LogID) (shardlog.LogState, error) {
	return shardlog.LogState{}, errors.New("no log here")
}
func (httpCluster) LogBatch(context.Context, events.LogID, uint64) (string, time.Time, error) {
	return "", time.Time{}, errors.New("no log here")
}
func (httpCluster) Listen(string, func(string, []byte)) (func(), error) {
	return nil, errors.New("nobody speaks here")
}
func (httpCluster) Close() {}

func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	return !strings.HasPrefix(rest, " Z")
}

// run is one command line in this process.
func run(t *testing.T, w Wiring, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), w, args, Streams{Out: &o, Err: &e, In: strings.NewReader("")})
	return code, o.String(), e.String()
}

// golden compares with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}
