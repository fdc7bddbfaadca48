package router

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/shardlog"
	"ringway/internal/testkit"
	"ringway/router/proxy"
	"ringway/router/ring"
)

const replicaEnv = "ROUTER_TEST_REPLICA"

// TestMain is also the main of the replicas that tests kill.
func TestMain(m *testing.M) {
	if id := os.Getenv(replicaEnv); id != "" {
		serveReplica(id)
		return
	}
	goleak.VerifyTestMain(m,
		// fasthttp's clock, one for the process, and its cleaner, which sleeps
		// out its last round after Stop.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

func serveReplica(id string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() { // ends with the test that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"message":"Hello from Server: %s","status":"successful"}`, id)
	}))
}

// process is a replica that can be killed.
type process struct {
	cmd     *exec.Cmd
	address string
}

func startProcess(t *testing.T, id string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), replicaEnv+"="+id)
	in, err := cmd.StdinPipe()
	testkit.Must(t, err)
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	testkit.Must(t, err)
	return &process{cmd, strings.TrimSpace(line)}
}

// replica starts an HTTP server in this process.
func replica(t *testing.T, h http.Handler) string {
	t.Helper()
	l := listen(t)
	s := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return l.Addr().String()
}

// replyWith answers with the member's name.
func replyWith(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }
}

// scripted is a member that treats each connection as it likes; n counts them.
func scripted(t *testing.T, talk func(n int, c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l := listen(t)
	var open sync.WaitGroup
	open.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
				defer stop()
				talk(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// readRequest reads one request; false at the connection's end.
func readRequest(br *bufio.Reader) (*http.Request, bool) {
	req, err := http.ReadRequest(br)
	if err != nil {
		return nil, false
	}
	_, _ = io.Copy(io.Discard, req.Body)
	return req, true
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	return l
}

// fakeBucket is the bucket of routes: what is put is watched.
type fakeBucket struct {
	mu      sync.Mutex
	now     map[string]events.Entry
	silent  bool // watches deliver nothing new, as after a bus restart
	watches int
	changed chan struct{}
}

func newBucket() *fakeBucket {
	return &fakeBucket{now: map[string]events.Entry{}, changed: make(chan struct{})}
}

func (b *fakeBucket) put(e events.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now[e.Key] = e
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *fakeBucket) Watch(ctx context.Context, _ string, fn func(events.Entry)) error {
	b.mu.Lock()
	b.watches++
	b.mu.Unlock()
	seen := map[string]events.Version{}
	for first := true; ; first = false {
		b.mu.Lock()
		var fresh []events.Entry
		for k, e := range b.now {
			if seen[k] != e.Version && (first || !b.silent) {
				fresh = append(fresh, e)
				seen[k] = e.Version
			}
		}
		changed := b.changed
		b.mu.Unlock()
		for _, e := range fresh {
			fn(e)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// fakeBus remembers the last heartbeat and answers requests with a function.
type fakeBus struct {
	mu        sync.Mutex
	heartbeat events.RouterHeartbeat
	sent      int
	gone      bool
	leader    func(verb string, req events.ScaleRequest) (events.ScaleReply, error)
	listen    func(string, []byte)
}

func (b *fakeBus) Publish(_ string, v any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone {
		return errors.New("no connection")
	}
	b.heartbeat, b.sent = v.(events.RouterHeartbeat), b.sent+1
	return nil
}

func (b *fakeBus) last() events.RouterHeartbeat {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heartbeat
}

func (b *fakeBus) Listen(subject string, fn func(string, []byte)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if subject == events.HeartbeatController {
		b.listen = fn
	}
	return func() {}, nil
}

func (b *fakeBus) Request(_ context.Context, verb string, req, reply any) error {
	b.mu.Lock()
	leader := b.leader
	b.mu.Unlock()
	if leader == nil {
		return events.ErrNoLeader
	}
	r, err := leader(verb, req.(events.ScaleRequest))
	if err == nil {
		*reply.(*events.ScaleReply) = r
	}
	return err
}

// noLogs are those of a cluster without a database.
type noLogs struct{}

func (noLogs) Append(context.Context, events.LogID, string, []byte) (uint64, error) {
	return 0, events.ErrLogMissing
}

func (noLogs) State(context.Context, events.LogID) (shardlog.LogState, error) {
	return shardlog.LogState{}, events.ErrLogMissing
}

// world is a router that runs, and what is around it.
type world struct {
	t      *testing.T
	r      *Router
	url    string
	bucket *fakeBucket
	bus    *fakeBus
	client *http.Client
	stop   func() error
	rev    atomic.Uint64
	last   events.Route // that was put
	log    *testkit.Buffer
}

func start(t *testing.T, tune func(*Config)) *world {
	t.Helper()
	cfg := DefaultConfig()
	cfg.ID, cfg.Public, cfg.Admin = "r1", []net.Listener{listen(t)}, listen(t)
	cfg.Proxy.TrialAfter, cfg.Proxy.MaxTrial = 50*time.Millisecond, 200*time.Millisecond
	cfg.Edge.Stop = 5 * time.Second
	if tune != nil {
		tune(&cfg)
	}
	w := &world{t: t, bucket: newBucket(), bus: &fakeBus{}, url: "http://" + cfg.Public[0].Addr().String(), log: &testkit.Buffer{}}
	var err error
	w.r, err = New(cfg, w.bucket, w.bus, noLogs{}, nil, slog.New(slog.NewTextHandler(w.log, nil)))
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.r.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	if to := cfg.Public[0].Addr(); to.Network() == "unix" {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", to.String()) }
		w.url = "http://ringway"
	}
	w.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var once sync.Once
	w.stop = func() error {
		var err error
		once.Do(func() {
			cancel()
			transport.CloseIdleConnections()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Log(w.log)
		}
	})
	return w
}

// routeMember is one of a test's route.
func routeMember(id int, address string) events.Member {
	return events.Member{Name: fmt.Sprintf("S%d", id), ID: id, Host: "h1", Address: address, Weight: 1}
}

// route has the default service served by the members; draining ones own nothing.
func route(members ...events.Member) events.Route {
	spec := events.DefaultServiceSpec()
	var serving []ring.Member
	index := map[string]uint16{}
	for i, m := range members {
		index[m.Name] = uint16(i)
		if !m.Draining {
			serving = append(serving, ring.Member{Name: m.Name, ID: m.ID, Weight: m.Weight})
		}
	}
	table, err := ring.Balanced(1024, serving, nil)
	if err != nil {
		panic(err)
	}
	slots := table.Slots()
	for i, s := range slots {
		if s != events.NoOwner {
			slots[i] = index[serving[s].Name]
		}
	}
	return events.Route{
		Service: spec.Name, Algorithm: events.Balanced, LoadFactor: spec.LoadFactor, Key: spec.Key,
		Timeout: spec.Timeout, Members: members, Slots: slots,
	}
}

// put stores the route and waits until it is served.
func (w *world) put(r events.Route) events.Epoch {
	w.t.Helper()
	epoch := w.store(r)
	w.last = r
	w.eventually(func() error {
		if w.r.proxy.Epochs()[r.Service] != epoch {
			return fmt.Errorf("epoch %v is not served", epoch)
		}
		return nil
	})
	return epoch
}

func (w *world) store(r events.Route) events.Epoch {
	w.t.Helper()
	value, err := json.Marshal(r)
	testkit.Must(w.t, err)
	epoch := events.Epoch{Incarnation: "one", Revision: w.rev.Add(1)}
	w.bucket.put(events.Entry{Key: events.ServiceKey(r.Service), Value: value, Version: epoch})
	return epoch
}

type result struct {
	code   int
	body   string
	header http.Header
}

func (w *world) do(method, path, body string, header ...string) result {
	w.t.Helper()
	res, err := w.try(method, path, body, header...)
	testkit.Must(w.t, err)
	return res
}

func (w *world) try(method, path, body string, header ...string) (result, error) {
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		return result{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, string(b), resp.Header}, err
}

// raw sends bytes on a connection of their own and reads to its end.
func (w *world) raw(sent string) string {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	testkit.Must(w.t, c.SetDeadline(time.Now().Add(testkit.Patience)))
	_, _ = io.WriteString(c, sent)
	b, _ := io.ReadAll(c)
	return string(b)
}

// dial is a connection to the first public listener.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := w.tryDial()
	testkit.Must(w.t, err)
	return c
}

func (w *world) tryDial() (net.Conn, error) {
	to := w.r.cfg.Public[0].Addr()
	return net.DialTimeout(to.Network(), to.String(), testkit.Patience)
}

// onEach runs a test at a port, and on a Unix socket.
func onEach(t *testing.T, f func(t *testing.T, public func(*Config))) {
	t.Run("tcp", func(t *testing.T) { f(t, func(*Config) {}) })
	t.Run("unix", func(t *testing.T) { f(t, onUnix(t)) })
}

// onUnix puts a Unix socket in the place of the port.
func onUnix(t *testing.T) func(*Config) {
	return func(c *Config) {
		testkit.Must(t, c.Public[0].Close())
		c.Public[0] = listenUnix(t)
	}
}

func listenUnix(t *testing.T) net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "unix-") // that of the test may be too long for a socket
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	testkit.Must(t, err)
	return l
}

// served is the default service as it is served now.
func (w *world) served() proxy.View {
	w.t.Helper()
	all := w.r.proxy.Snapshot().Views()
	if len(all) != 1 {
		w.t.Fatalf("%d services are served", len(all))
	}
	return all[0]
}

// table is the slot table of the route that was put.
func (w *world) table() *ring.Table {
	w.t.Helper()
	var members []ring.Member
	for _, m := range w.last.Members {
		members = append(members, ring.Member{Name: m.Name, ID: m.ID, Weight: m.Weight})
	}
	table, err := ring.FromSlots(w.last.Slots, members, nil)
	testkit.Must(w.t, err)
	return table
}

// idle is nil when no request is in flight.
func (w *world) idle() error {
	if n := w.r.proxy.Snapshot().InFlight(); len(n) > 0 {
		return fmt.Errorf("in flight: %v", n)
	}
	return nil
}

func (w *world) eventually(f func() error) { w.t.Helper(); testkit.Eventually(w.t, f) }

func newLoopback() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

func hashOf(key string) uint64 { return xxh3.HashString(key) }

// courseRoute is a route of the course's algorithm with ids from 1.
func courseRoute(t *testing.T, addresses ...string) events.Route {
	t.Helper()
	r := events.Route{Service: "web", Algorithm: events.Course, LoadFactor: 1.25, Key: events.DefaultServiceSpec().Key, Timeout: events.Duration(time.Second)}
	var members []ring.Member
	for i, a := range addresses {
		r.Members = append(r.Members, routeMember(i+1, a))
		members = append(members, ring.Member{Name: r.Members[i].Name, ID: i + 1, Weight: 1})
	}
	table, err := ring.Course(events.CourseSlots, events.CourseK, members, ring.Official())
	testkit.Must(t, err)
	r.Slots = table.Slots()
	return r
}
