package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/server"
	"ringway/internal/testkit"
)

// These tests look at the bus as a stranger does: with NATS's own client and
// the server's monitoring endpoints.

func TestInspect_Events(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	e := event(events.VerbReady, "w.1")
	emit(t, testkit.Connect(t, srv.URL()), e)

	stream, err := rawJS(t, srv.URL()).Stream(ctx, "RINGWAY_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	for what, ok := range map[string]bool{
		"subjects":     slices.Equal(cfg.Subjects, []string{"ringway.evt.>"}),
		"seven days":   cfg.MaxAge == 7*24*time.Hour,
		"file storage": cfg.Storage == jetstream.FileStorage,
		"discard old":  cfg.Discard == jetstream.DiscardOld,
		"dedup window": cfg.Duplicates == 10*time.Minute,
		"bounded size": cfg.MaxBytes == 256<<20,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, cfg)
		}
	}
	m, err := stream.GetLastMsgForSubject(ctx, "ringway.evt.instance.ready.w_1")
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"ce-specversion": "1.0",
		"ce-id":          e.ID,
		"ce-source":      "/ringway/controller/c1",
		"ce-type":        "io.ringway.instance.ready",
		"ce-subject":     "w.1",
		"ce-time":        "2026-03-01T12:00:00Z",
		"content-type":   "application/json",
		"Nats-Msg-Id":    e.ID,
	} {
		if got := m.Header.Get(k); got != want {
			t.Errorf("header %s is %q, want %q", k, got, want)
		}
	}
	if err := sameText(m.Data, `{"host":"h1"}`); err != nil {
		t.Error(err)
	}
}

func TestInspect_Buckets(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	js := rawJS(t, srv.URL())
	f := func(name string, history int64) {
		t.Helper()
		b := bucket(t, c, name)
		v := must(t)(b.Create(ctx, "k", []byte(`{"a":1}`)))
		kv, err := js.KeyValue(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		status, err := kv.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if status.History() != history || status.TTL() != 0 {
			t.Errorf("%s: history %d, TTL %s", name, status.History(), status.TTL())
		}
		if id := status.Metadata()["io.ringway.incarnation"]; id == "" || id != b.Incarnation() {
			t.Errorf("%s: incarnation %q in the metadata, %q here", name, id, b.Incarnation())
		}
		e, err := kv.Get(ctx, "k")
		if err != nil || string(e.Value()) != `{"a":1}` || e.Revision() != v.Revision {
			t.Errorf("%s: got %v, %v", name, e, err)
		}
		// And what a person puts there with NATS's own client is read here.
		if _, err := kv.Update(ctx, "k", []byte(`{"a":2}`), e.Revision()); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(ctx, "k"); err != nil || string(got.Value) != `{"a":2}` {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if err := kv.Purge(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		_, err = b.Get(ctx, "k")
		wantErr(t, err, events.ErrNotFound)
	}
	f("RINGWAY_DESIRED", 8)
	f("RINGWAY_DESIRED_COPY", 8)
	f("RINGWAY_ASSIGN", 8)
	f("RINGWAY_ROUTES", 8)
	f("RINGWAY_LEASE", 1)
}

func TestInspect_Service(t *testing.T) {
	srv := testkit.StartBus(t)
	release := make(chan struct{})
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"add":    func(context.Context, []byte) (any, error) { return nil, events.StatusErrorf(400, "no") },
		"status": func(context.Context, []byte) (any, error) { <-release; return events.Status{Controller: "c1"}, nil },
	})
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(subject string, v any) *nats.Msg {
		t.Helper()
		m, err := nc.RequestWithContext(testkit.Context(t), subject, []byte("{}"))
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		if err := json.Unmarshal(m.Data, v); err != nil {
			t.Fatalf("%s: %q: %v", subject, m.Data, err)
		}
		return m
	}
	var ping micro.Ping
	if ask("$SRV.PING.ringway", &ping); ping.Name != "ringway" || ping.Version != "1.2.3" || ping.Metadata["controller"] != "c1" {
		t.Errorf("ping: %+v", ping)
	}
	var info micro.Info
	ask("$SRV.INFO.ringway", &info)
	var subjects []string
	for _, e := range info.Endpoints {
		subjects = append(subjects, e.Name+" "+e.Subject)
	}
	if !slices.Equal(subjects, []string{"add ringway.api.add", "status ringway.api.status"}) {
		t.Errorf("endpoints: %v", subjects)
	}
	var statusErr events.StatusError
	m := ask("ringway.api.add", &statusErr)
	if m.Header.Get("Nats-Service-Error-Code") != "400" || m.Header.Get("Nats-Service-Error") != "no" || statusErr.Code != 400 {
		t.Errorf("a refusal: %v %q", m.Header, m.Data)
	}
	close(release)
	var status events.Status
	if ask("ringway.api.status", &status); status.Controller != "c1" {
		t.Errorf("status: %+v", status)
	}
	testkit.Eventually(t, func() error {
		var stats micro.Stats
		ask("$SRV.STATS.ringway", &stats)
		if len(stats.Endpoints) != 2 || stats.Endpoints[0].NumRequests != 1 || string(stats.Endpoints[0].Data) != `{"failed":0,"refused":1,"running":0}` {
			return fmt.Errorf("stats: %+v", stats)
		}
		return nil
	})
}

func TestInspect_Heartbeats(t *testing.T) {
	srv := testkit.StartBus(t)
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("ringway.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := testkit.Connect(t, srv.URL())
	if err := c.Publish(events.AgentSubject("h1"), events.HostHeartbeat{Host: "h1"}); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(testkit.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := events.DecodeHostHeartbeat(m.Data); err != nil || m.Subject != "ringway.hb.agent.h1" || b.Host != "h1" {
		t.Fatalf("%s: %q, %v", m.Subject, m.Data, err)
	}
}

func TestInspect_Monitoring(t *testing.T) {
	srv := testkit.StartBus(t, func(cfg *server.Config) { cfg.Monitor = "127.0.0.1:0" })
	c := testkit.Connect(t, srv.URL())
	bucket(t, c, events.BucketRoutes)
	emit(t, c, event(events.VerbReady, "w1"))

	var varz struct {
		Version   string `json:"version"`
		JetStream struct {
			Config struct {
				SyncAlways bool   `json:"sync_always"`
				StoreDir   string `json:"store_dir"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	get(t, srv.MonitorURL()+"/varz", &varz)
	if !strings.HasPrefix(varz.Version, "2.15.") || !varz.JetStream.Config.SyncAlways || !strings.HasPrefix(varz.JetStream.Config.StoreDir, srv.Config.Store) {
		t.Errorf("varz: %+v", varz)
	}
	var jsz struct {
		Accounts []struct {
			Streams []struct {
				Name  string `json:"name"`
				State struct {
					Messages int `json:"messages"`
				} `json:"state"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	get(t, srv.MonitorURL()+"/jsz?streams=true", &jsz)
	found := map[string]int{}
	for _, a := range jsz.Accounts {
		for _, s := range a.Streams {
			found[s.Name] = s.State.Messages
		}
	}
	if n, ok := found["RINGWAY_EVENTS"]; !ok || n != 1 {
		t.Errorf("jsz: %v", found)
	}
	if _, ok := found["KV_RINGWAY_ROUTES"]; !ok {
		t.Errorf("jsz: %v", found)
	}
	var connz struct {
		Connections []struct {
			Name string `json:"name"`
		} `json:"connections"`
	}
	get(t, srv.MonitorURL()+"/connz", &connz)
	if len(connz.Connections) != 1 || connz.Connections[0].Name != t.Name() {
		t.Errorf("connz: %+v", connz)
	}
}

func get(t *testing.T, url string, v any) {
	t.Helper()
	req, err := http.NewRequestWithContext(testkit.Context(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
}

func TestStream_TakesOurSettings(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	js := rawJS(t, srv.URL())
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: events.StreamEvents, Subjects: []string{"ringway.evt.>"}}); err != nil {
		t.Fatal(err)
	}
	emit(t, testkit.Connect(t, srv.URL()), event(events.VerbReady, "w1"))
	s, err := js.Stream(ctx, events.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	if cfg := s.CachedInfo().Config; cfg.MaxAge != events.EventsKept || cfg.Duplicates != 10*time.Minute {
		t.Errorf("the settings stayed: %+v", cfg)
	}
}

func TestStream_RefusesWhatItCannotChange(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	js := rawJS(t, srv.URL())
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: events.BucketRoutes, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	c := testkit.Connect(t, srv.URL())
	if _, err := c.Bucket(ctx, events.BucketRoutes); err == nil || !strings.Contains(err.Error(), "Memory storage") {
		t.Errorf("a bucket in memory: %v", err)
	}
	three := testkit.Connect(t, srv.URL(), func(cfg *bus.Config) { cfg.Replicas = 3 })
	if _, err := three.Bucket(ctx, events.BucketAssign); err == nil || ctx.Err() != nil {
		t.Errorf("three replicas on one server: %v", err)
	}
}

// A bucket that a person made has an incarnation all the same.
func TestBucket_MadeByOthers(t *testing.T) {
	ctx := testkit.Context(t)
	srv := testkit.StartBus(t)
	if _, err := rawJS(t, srv.URL()).CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: events.BucketRoutes}); err != nil {
		t.Fatal(err)
	}
	a, b := bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes), bucket(t, testkit.Connect(t, srv.URL()), events.BucketRoutes)
	if a.Incarnation() == "" || a.Incarnation() != b.Incarnation() {
		t.Fatalf("incarnations %q and %q", a.Incarnation(), b.Incarnation())
	}
}
