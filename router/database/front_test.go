package database_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ringway/events"
	"ringway/internal/testkit"
	"ringway/router"
)

// front is a router of the cluster.
type front struct {
	t      *testing.T
	url    string
	admin  string
	cache  string // file; empty: none
	client *http.Client
	log    *testkit.Buffer
	stop   func()
}

// router starts one, and waits until it serves the newest route and has it in its
// cache, if it keeps one.
func (c *cluster) router(tune func(*router.Config)) *front {
	c.t.Helper()
	f := c.newRouter(tune)
	_, epoch := c.now()
	if !epoch.Zero() {
		f.serves(epoch)
		testkit.Eventually(c.t, func() error {
			if b, err := os.ReadFile(f.cache); f.cache != "" && !strings.Contains(string(b), epoch.Incarnation) {
				return fmt.Errorf("the route is not cached: %s, %v", b, err)
			}
			return nil
		})
	}
	return f
}

func (c *cluster) newRouter(tune func(*router.Config)) *front {
	c.t.Helper()
	cfg := router.DefaultConfig()
	cfg.ID, cfg.Public, cfg.Admin, cfg.Edge.Stop = "r1", []net.Listener{listen(c.t, "")}, listen(c.t, ""), 5*time.Second
	cfg.Database.Write.Timeout, cfg.Database.Servers.Try, cfg.Database.Read.Timeout, cfg.Database.Servers.Connect = testkit.Patience, testkit.Patience, testkit.Patience, testkit.Patience // the machine may be busy
	if tune != nil {
		tune(&cfg)
	}
	f := &front{t: c.t, url: "http://" + cfg.Public[0].Addr().String(), admin: "http://" + cfg.Admin.Addr().String(), cache: cfg.Cache, log: &testkit.Buffer{}}
	conn := c.connect()
	r, err := router.New(cfg, conn.Values(events.BucketRoutes), conn, conn, nil, slog.New(slog.NewTextHandler(f.log, nil)))
	testkit.Must(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	f.client = &http.Client{Transport: transport, Timeout: time.Minute}
	f.stop = sync.OnceFunc(func() {
		cancel()
		transport.CloseIdleConnections()
		if err := <-done; err != nil {
			c.t.Errorf("run: %v", err)
		}
		conn.Close()
	})
	c.t.Cleanup(func() {
		f.stop()
		if c.t.Failed() {
			c.t.Log(f.log)
		}
	})
	return f
}

// serves waits until the router does.
func (f *front) serves(epoch events.Epoch) {
	f.t.Helper()
	testkit.Eventually(f.t, func() error {
		got := f.get(f.admin + "/routes")
		if !strings.Contains(strings.Join(strings.Fields(got.body), ""), fmt.Sprintf(`"epoch":{"incarnation":%q,"revision":%d}`, epoch.Incarnation, epoch.Revision)) {
			return fmt.Errorf("epoch %s is not served: %s", epoch, got.body)
		}
		return nil
	})
}

func (f *front) get(url string) result {
	resp, err := f.client.Get(url)
	testkit.Must(f.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	testkit.Must(f.t, err)
	return result{resp.StatusCode, string(b), resp.Header}
}

type result struct {
	code   int
	body   string
	header http.Header
}

func (f *front) do(method, path, body string, header ...string) result {
	f.t.Helper()
	got, err := f.try(method, path, body, header...)
	testkit.Must(f.t, err)
	return got
}

func (f *front) try(method, path, body string, header ...string) (result, error) {
	req, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		return result{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, string(b), resp.Header}, err
}

// want does a request and compares all of its answer.
func (f *front) want(method, path, body string, code int, want string, header ...string) {
	f.t.Helper()
	got := f.do(method, path, body, header...)
	if got.code != code {
		f.t.Errorf("%s %s %.200s: got %d %s, want %d %s", method, path, body, got.code, got.body, code, want)
		return
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		f.t.Errorf("%s %s: content type %q", method, path, ct)
	}
	sameJSON(f.t, got.body, want)
}
