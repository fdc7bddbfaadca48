package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

func serve(t *testing.T, c *bus.Conn, verbs map[string]bus.Handler) (stop func()) {
	t.Helper()
	stop, err := c.Serve(t.Context(), "v1.2.3", map[string]string{"controller": "c1"}, verbs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

func TestRequest_IsAnswered(t *testing.T) {
	srv := testkit.StartBus(t)
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		events.APIAdd: func(_ context.Context, req []byte) (any, error) {
			var r events.ScaleRequest
			if err := json.Unmarshal(req, &r); err != nil {
				return nil, events.StatusErrorf(400, "no JSON: %v", err)
			}
			return events.ScaleReply{Service: r.Service, Added: r.Names}, nil
		},
	})
	var reply events.ScaleReply
	err := testkit.Connect(t, srv.URL()).Request(testkit.Context(t), events.APIAdd, events.ScaleRequest{ID: "1", Service: "web", N: 1, Names: []string{"S5"}}, &reply)
	if err != nil || reply.Service != "web" || len(reply.Added) != 1 || reply.Added[0] != "S5" {
		t.Fatalf("got %+v, %v", reply, err)
	}
}

func TestRequest_BringsErrorsBackAsThemselves(t *testing.T) {
	srv := testkit.StartBus(t)
	statusErr := events.StatusErrorf(409, "name %q is in use", "S5\r\nX: y")
	var answer atomic.Value
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"add": func(context.Context, []byte) (any, error) { return nil, answer.Load().(error) },
	})
	c := testkit.Connect(t, srv.URL())
	ask := func(err error) error {
		answer.Store(fmt.Errorf("add: %w", err))
		return c.Request(testkit.Context(t), "add", struct{}{}, nil)
	}
	var got *events.StatusError
	if err := ask(statusErr); !errors.As(err, &got) || *got != *statusErr {
		t.Errorf("got %v, want %v", err, statusErr)
	}
	for _, want := range []error{events.ErrNoLeader, events.ErrUnknownOutcome} {
		if err := ask(want); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	err := ask(errors.New("disk on fire"))
	if err == nil || errors.As(err, &got) || errors.Is(err, events.ErrNoLeader) || errors.Is(err, events.ErrUnknownOutcome) {
		t.Errorf("an internal error came back as %v", err)
	}
}

func TestRequest_NobodyAnswers(t *testing.T) {
	srv := testkit.StartBus(t)
	c := testkit.Connect(t, srv.URL())
	wantErr(t, c.Request(testkit.Context(t), "add", struct{}{}, nil), events.ErrNoLeader)
	srv.Shutdown()
	testkit.Eventually(t, func() error {
		if c.Connected() {
			return errors.New("still connected")
		}
		return nil
	})
	wantErr(t, c.Request(testkit.Context(t), "add", struct{}{}, nil), events.ErrNoLeader)
}

func TestRequest_OutcomeUnknown(t *testing.T) {
	srv := testkit.StartBus(t)
	entered := make(chan struct{}, 2)
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"add": func(ctx context.Context, _ []byte) (any, error) {
			entered <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	cut := newCut(t, srv.URL())
	c := testkit.Connect(t, cut.URL())

	ctx, cancel := context.WithCancel(testkit.Context(t))
	defer cancel()
	go func() { <-entered; cancel() }()
	wantErr(t, c.Request(ctx, "add", struct{}{}, nil), events.ErrUnknownOutcome)

	failed := make(chan error)
	go func() { failed <- c.Request(testkit.Context(t), "add", struct{}{}, nil) }()
	<-entered
	cut.Cut()
	wantErr(t, <-failed, events.ErrUnknownOutcome)
}

func TestServe_WorksOnManyRequestsAtOnceButNotOnAny(t *testing.T) {
	srv := testkit.StartBus(t)
	release := make(chan struct{})
	var inside atomic.Int64
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"add":    func(context.Context, []byte) (any, error) { inside.Add(1); <-release; return "done", nil },
		"status": func(context.Context, []byte) (any, error) { return events.Status{}, nil },
	})
	c := testkit.Connect(t, srv.URL())
	const many = 64
	var wait sync.WaitGroup
	for range many {
		wait.Go(func() {
			if err := c.Request(testkit.Context(t), "add", struct{}{}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	testkit.Eventually(t, func() error {
		if n := inside.Load(); n < many {
			return fmt.Errorf("%d of %d requests are worked on", n, many)
		}
		return nil
	})
	var statusErr *events.StatusError
	if err := c.Request(testkit.Context(t), "add", struct{}{}, nil); !errors.As(err, &statusErr) || statusErr.Code != 503 {
		t.Errorf("one request too many: %v", err)
	}
	if err := c.Request(testkit.Context(t), "status", struct{}{}, nil); err != nil {
		t.Errorf("another verb: %v", err)
	}
	close(release)
	wait.Wait()
}

func TestServe_StopWaitsForHandlers(t *testing.T) {
	srv := testkit.StartBus(t)
	entered := make(chan struct{})
	var ended atomic.Bool
	stop := serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"add": func(ctx context.Context, _ []byte) (any, error) {
			close(entered)
			<-ctx.Done()
			ended.Store(true)
			return nil, ctx.Err()
		},
	})
	c := testkit.Connect(t, srv.URL())
	failed := make(chan error)
	go func() { failed <- c.Request(testkit.Context(t), "add", struct{}{}, nil) }()
	<-entered
	stop()
	if !ended.Load() {
		t.Error("stop returned before the handler")
	}
	wantErr(t, <-failed, events.ErrUnknownOutcome)
	wantErr(t, c.Request(testkit.Context(t), "add", struct{}{}, nil), events.ErrNoLeader)
}

// A leader that lost its lease answers nothing that comes after.
func TestServe_RefusesAfterItsContext(t *testing.T) {
	srv := testkit.StartBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	stop, err := testkit.Connect(t, srv.URL()).Serve(ctx, "dev", nil, map[string]bus.Handler{
		"add": func(context.Context, []byte) (any, error) { return "done", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := testkit.Connect(t, srv.URL())
	if err := c.Request(testkit.Context(t), "add", struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantErr(t, c.Request(testkit.Context(t), "add", struct{}{}, nil), events.ErrNoLeader)
}

func TestServe_OutlivesARestart(t *testing.T) {
	srv := testkit.StartBus(t)
	serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"status": func(context.Context, []byte) (any, error) { return events.Status{Controller: "c1"}, nil },
	})
	c := testkit.Connect(t, srv.URL())
	srv.Shutdown()
	srv.Start()
	testkit.Eventually(t, func() error {
		var s events.Status
		if err := c.Request(testkit.Context(t), "status", struct{}{}, &s); err != nil || s.Controller != "c1" {
			return fmt.Errorf("got %+v, %v", s, err)
		}
		return nil
	})
}

func TestServe_StopWithoutABus(t *testing.T) {
	srv := testkit.StartBus(t)
	stop := serve(t, testkit.Connect(t, srv.URL()), map[string]bus.Handler{
		"status": func(context.Context, []byte) (any, error) { return nil, nil },
	})
	srv.Shutdown()
	stop()
}

// A term that ends while the bus is away must not leave an endpoint there that
// swallows requests: the queue group would go on choosing it.
func TestServe_StoppedWithoutABusItAnswersNobodyAfterwards(t *testing.T) {
	srv := testkit.StartBus(t)
	leader := testkit.Connect(t, srv.URL())
	status := func(term string) map[string]bus.Handler {
		return map[string]bus.Handler{"status": func(context.Context, []byte) (any, error) { return events.Status{Controller: term}, nil }}
	}
	stop := serve(t, leader, status("first"))
	c := testkit.Connect(t, srv.URL())
	srv.Shutdown()
	testkit.Eventually(t, func() error {
		if leader.Connected() {
			return errors.New("connected")
		}
		return nil
	})
	stop()
	srv.Start()
	testkit.Eventually(t, func() error {
		if !leader.Connected() || !c.Connected() {
			return errors.New("not connected")
		}
		return nil
	})
	serve(t, leader, status("second"))
	answered := 0
	testkit.Eventually(t, func() error { // until the first is gone it says that nobody leads
		var s events.Status
		err := c.Request(testkit.Context(t), "status", struct{}{}, &s)
		switch {
		case errors.Is(err, events.ErrNoLeader):
			answered = 0
		case err != nil:
			t.Fatalf("request was swallowed: %v", err)
		case s.Controller != "second":
			t.Fatalf("the %s term answers", s.Controller)
		default:
			answered++
		}
		if answered < 50 {
			return fmt.Errorf("%d in a row were answered", answered)
		}
		return nil
	})
}
