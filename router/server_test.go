package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringway/internal/testkit"
)

func TestRun_LetsOpenRequestsFinish(t *testing.T) { onEach(t, letsOpenRequestsFinish) }

func letsOpenRequestsFinish(t *testing.T, public func(*Config)) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	w := start(t, public)
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-finish
		_, _ = io.WriteString(rw, "done")
	})))))
	answered := make(chan result, 1)
	go func() {
		got, _ := w.try("GET", "/home", "")
		answered <- got
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	w.eventually(func() error { // no new connection is taken
		c, err := w.tryDial()
		if err == nil {
			_ = c.Close()
			return errors.New("the router listens")
		}
		return nil
	})
	close(finish)
	if got := <-answered; got.code != 200 || got.body != "done" {
		t.Fatalf("got %d %s", got.code, got.body)
	}
	testkit.Must(t, <-stopped)
}

func TestRun_EndsInTimeWhateverIsOpen(t *testing.T) { onEach(t, endsInTimeWhateverIsOpen) }

func endsInTimeWhateverIsOpen(t *testing.T, public func(*Config)) {
	stuck := make(chan struct{})
	defer close(stuck)
	w := start(t, func(c *Config) { public(c); c.Edge.Stop = 100 * time.Millisecond })
	arrived := make(chan struct{}, 1)
	w.put(route(routeMember(1, replica(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	})))))
	go func() { _, _ = w.try("GET", "/home", "") }()
	<-arrived
	silent := w.dial()
	defer silent.Close()
	before := testkit.StartWatch()
	testkit.Must(t, w.stop())
	if took := before.Elapsed(); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestAdmin(t *testing.T) {
	w := start(t, nil)
	admin := "http://" + w.r.cfg.Admin.Addr().String()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := w.client.Get(admin + path)
		testkit.Must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		testkit.Must(t, err)
		return resp.StatusCode, string(b)
	}
	f := func(path string, code int, parts ...string) {
		t.Helper()
		got, body := get(path)
		if got != code {
			t.Errorf("%s: got %d %s", path, got, body)
		}
		for _, p := range parts {
			if !strings.Contains(body, p) {
				t.Errorf("%s: %q is not in %s", path, p, body)
			}
		}
	}
	f("/livez", 200)
	f("/readyz", 503, "no route is known yet")
	w.put(only(route(routeMember(1, testkit.Address(t)), routeMember(2, replica(t, replyWith("S2"))))))
	f("/readyz", 200, `"ready": true`)
	w.do("GET", "/home", "", "X-Ringway-Key", firstChoice(w))
	f("/metrics", 200,
		`ringway_router_answers_total{code="2xx",member="S2",service="web"} 1`,
		`ringway_router_ejections_total{member="S1",service="web"} 1`,
		`ringway_router_retries_total{member="S1",service="web"} 1`,
		`ringway_router_in_flight{member="S2",service="web"} 0`,
		`ringway_router_epoch{incarnation="one",service="web"} 1`,
		`ringway_router_swaps_total 1`, `ringway_router_answer_seconds_count{member="S2",service="web"} 1`, "go_goroutines", "process_open_fds")
	_, body := get("/routes")
	var shown []map[string]any
	if err := json.Unmarshal([]byte(body), &shown); err != nil || len(shown) != 1 || len(shown[0]["members"].([]any)) != 2 {
		t.Errorf("/routes: %v %s", err, body)
	}
	f("/debug/pprof/cmdline", 200)
	f("/nothing", 404)
}

// Names of replacements are random: their series must not pile up.
func TestMetrics_ForgetMembersThatAreGone(t *testing.T) {
	w := start(t, nil)
	for i := range 20 {
		w.put(route(routeMember(i+1, "127.0.0.1:1")))
	}
	families, err := w.r.registry.Gather()
	testkit.Must(t, err)
	for _, f := range families {
		if n := len(f.Metric); f.GetName() == "ringway_router_answers_total" && n > 3*6 {
			t.Errorf("%d series of %s", n, f.GetName())
		}
	}
}

func TestNew_NamesWhatIsWrong(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		cfg := DefaultConfig()
		cfg.ID, cfg.Public = "r1", []net.Listener{listen(t)}
		defer cfg.Public[0].Close()
		change(&cfg)
		if _, err := New(cfg, nil, nil, nil, nil, nil); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f(func(c *Config) { c.ID = "" }, "id")
	f(func(c *Config) { c.Public = nil }, "public")
}

// hungry is a listener that is out of descriptors for a while.
type hungry struct {
	net.Listener
	left int
}

func (h *hungry) Accept() (net.Conn, error) {
	if h.left--; h.left >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return h.Listener.Accept()
}

func TestRouter_OutlivesTheWantOfDescriptors(t *testing.T) {
	w := start(t, func(c *Config) { c.Public[0] = &hungry{c.Public[0], 3} })
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	if got := w.do("GET", "/home", ""); got.code != 200 {
		t.Fatalf("got %d %s", got.code, got.body)
	}
}
