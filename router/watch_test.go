package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringway/events"
	"ringway/internal/testkit"
)

func TestRouter_ReportsADrainingMemberUntilItIsIdle(t *testing.T) {
	finish := make(chan struct{})
	slow := replica(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-finish
		}
		_, _ = io.WriteString(w, "S1")
	}))
	w := start(t, nil)
	other := routeMember(2, replica(t, replyWith("S2")))
	w.put(only(route(routeMember(1, slow), other)))
	key := firstChoice(w)
	answered := make(chan result, 1)
	go func() {
		got, _ := w.try("GET", "/slow", "", "X-Ringway-Key", key)
		answered <- got
	}()
	inFlight := func() int { return w.bus.last().InFlight["web"]["S1"] }
	w.eventually(func() error {
		if inFlight() != 1 {
			return errors.New("the request is not reported")
		}
		return nil
	})
	draining := routeMember(1, slow)
	draining.Draining = true
	epoch := w.put(route(draining, other))
	for range 50 {
		if got := w.do("GET", "/home", ""); got.body != "S2" {
			t.Fatalf("the draining member got a new request: %s", got.body)
		}
	}
	w.eventually(func() error {
		if b := w.bus.last(); b.Epochs["web"] != epoch || inFlight() != 1 {
			return fmt.Errorf("heartbeat %+v", b)
		}
		return nil
	})
	idle := testkit.StartWatch()
	close(finish)
	if got := <-answered; got.code != 200 || got.body != "S1" {
		t.Fatalf("the open request got %d %s", got.code, got.body)
	}
	w.eventually(func() error {
		if inFlight() != 0 {
			return errors.New("the idle member is still reported")
		}
		return nil
	})
	if late := idle.Elapsed(); late > events.HeartbeatInterval*4/5 {
		t.Errorf("reported only after %s", late)
	}
}

func TestRouter_ReportsADepartedMemberUntilItIsIdle(t *testing.T) {
	finish := make(chan struct{})
	slow := replica(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	w := start(t, nil)
	w.put(route(routeMember(1, slow)))
	done := make(chan struct{})
	go func() { defer close(done); _, _ = w.try("POST", "/slow", "") }() // a GET would go on elsewhere
	reported := func(want int) {
		t.Helper()
		w.eventually(func() error {
			if got := w.bus.last().InFlight["web"]["S1"]; got != want {
				return fmt.Errorf("%d reported, want %d", got, want)
			}
			return nil
		})
	}
	reported(1)
	w.put(route(routeMember(2, replica(t, replyWith("S2")))))
	reported(1)
	close(finish)
	<-done
	reported(0)
}

func TestRouter_KeepsServingWhileTheBusIsAway(t *testing.T) {
	w := start(t, nil)
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	w.bus.mu.Lock()
	w.bus.gone = true
	w.bus.mu.Unlock()
	for range 100 {
		if got := w.do("GET", "/home", ""); got.code != 200 {
			t.Fatalf("got %d %s", got.code, got.body)
		}
	}
	if got := w.do("GET", "/rep", ""); got.code != 200 {
		t.Fatalf("/rep: got %d %s", got.code, got.body)
	}
}

// A watch can fall silent after a bus restart without closing.
func TestRouter_ReadsAgainWhenTheLeaderIsAhead(t *testing.T) {
	w := start(t, nil)
	address := replica(t, replyWith("S1"))
	w.put(route(routeMember(1, address)))
	w.bucket.mu.Lock()
	w.bucket.silent = true
	w.bucket.mu.Unlock()
	epoch := w.store(route(routeMember(1, address), routeMember(2, address)))
	w.eventually(func() error {
		w.bus.mu.Lock()
		defer w.bus.mu.Unlock()
		if w.bus.listen == nil {
			return errors.New("nobody listens")
		}
		return nil
	})
	heartbeat, err := json.Marshal(events.ControllerHeartbeat{Controller: "c1", Epochs: map[string]events.Epoch{"web": epoch}})
	testkit.Must(t, err)
	w.bus.listen("", []byte("rubbish"))
	w.eventually(func() error {
		w.bus.listen("", heartbeat)
		if w.served().Epoch != epoch {
			return errors.New("the old epoch is served")
		}
		return nil
	})
}

func TestCache_ServesWhenTheBusIsAwayAtStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	address := replica(t, replyWith("S1"))
	first := start(t, func(c *Config) { c.Cache = file })
	first.put(route(routeMember(1, address)))
	first.eventually(func() error { _, err := os.Stat(file); return err })
	testkit.Must(t, first.stop())

	second := start(t, func(c *Config) { c.Cache = file })
	if got := second.do("GET", "/home", ""); got.code != 200 || got.body != "S1" {
		t.Fatalf("got %d %s", got.code, got.body)
	}
	second.rev.Store(1)
	second.put(route(routeMember(1, replica(t, replyWith("new")))))
	if got := second.do("GET", "/home", ""); got.body != "new" {
		t.Fatalf("got %d %s", got.code, got.body)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	testkit.Must(t, err)
	second.eventually(func() error {
		if len(left) != 1 {
			left, _ = os.ReadDir(filepath.Dir(file))
			return fmt.Errorf("files %v", left)
		}
		return nil
	})
}

// The bus has nothing newer, so no change is the reason for a heartbeat.
func TestCache_IsInAHeartbeatAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	first := start(t, func(c *Config) { c.Cache = file })
	first.put(route(routeMember(1, replica(t, replyWith("S1")))))
	first.eventually(func() error { _, err := os.Stat(file); return err })
	testkit.Must(t, first.stop())

	cfg := DefaultConfig()
	cfg.ID, cfg.Public, cfg.Cache = "r1", []net.Listener{listen(t)}, file
	second, err := New(cfg, newBucket(), &fakeBus{}, noLogs{}, nil, testkit.Quiet)
	testkit.Must(t, err)
	testkit.Must(t, cfg.Public[0].Close())
	if len(second.heartbeatNow) == 0 {
		t.Error("the first heartbeat waits for the ticker")
	}
}

func TestCache_ABadFileIsLeftAlone(t *testing.T) {
	f := func(content string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "routes.json")
		testkit.Must(t, os.WriteFile(file, []byte(content), 0o600))
		var log testkit.Buffer
		cfg := DefaultConfig()
		cfg.ID, cfg.Public, cfg.Cache = "r1", []net.Listener{listen(t)}, file
		defer cfg.Public[0].Close()
		r, err := New(cfg, newBucket(), &fakeBus{}, noLogs{}, nil, slog.New(slog.NewTextHandler(&log, nil)))
		testkit.Must(t, err)
		if len(r.proxy.Epochs()) > 0 || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%q: log %s", content, log.String())
		}
		if b, _ := os.ReadFile(file); string(b) != content {
			t.Errorf("%q was changed to %q", content, b)
		}
	}
	f("")
	f("rubbish")
	f(`[{"service":"web","epoch":{"incarnation":"one","revision":1},"route":{"service":"web"}}]`)
	f(`[{"service":"web","route":{"service":"other"}}]`)
}

func TestCache_AFullDiskStopsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.json")
	testkit.Must(t, os.Mkdir(file, 0o755)) // cannot be replaced by a file
	w := start(t, func(c *Config) { c.Cache = file })
	w.put(route(routeMember(1, replica(t, replyWith("S1")))))
	w.eventually(func() error {
		if !strings.Contains(w.log.String(), "routes cannot be cached") {
			return errors.New("no warning")
		}
		return nil
	})
	if got := w.do("GET", "/home", ""); got.code != 200 {
		t.Fatalf("got %d %s", got.code, got.body)
	}
}
