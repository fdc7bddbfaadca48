package controller_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringway/controller"
	"ringway/events"
	"ringway/events/bus"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a real bus with pretended hosts and routers on it.
type site struct {
	t     *testing.T
	bus   *testkit.Bus
	conn  *bus.Conn
	begun atomic.Int64                              // lives of the bus, by leaders
	wrap  func(controller.Bucket) controller.Bucket // of assignments; nil: as they are
}

// countedLease counts how often a leader begins a new life of the bus, for
// which it begins with the lease.
type countedLease struct {
	controller.Bucket
	begun *atomic.Int64
}

func (c countedLease) BeginAnew(ctx context.Context, why events.Rollback) error {
	c.begun.Add(1)
	return c.Bucket.BeginAnew(ctx, why)
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Parallel() // most of its time a site waits, for heartbeats or a lease to expire
	s := &site{t: t, bus: testkit.StartBus(t)}
	s.conn = s.connect()
	return s
}

// restart stops the bus and starts it again on its port.
func (s *site) restart(wiped bool) {
	s.t.Helper()
	s.bus.Shutdown()
	if wiped {
		s.bus.Wipe()
	}
	s.bus.Start()
}

func (s *site) connect() *bus.Conn {
	s.t.Helper()
	return testkit.Connect(s.t, s.bus.URL())
}

// lead runs a controller until stop.
func (s *site) lead(id string, replicas int) (stop func()) {
	s.t.Helper()
	return s.leadOn(s.connect(), id, replicas)
}

func (s *site) leadOn(conn *bus.Conn, id string, replicas int) (stop func()) {
	s.t.Helper()
	return s.leadWith(conn, conn, id, replicas)
}

func (s *site) leadWith(conn *bus.Conn, logs controller.Logs, id string, replicas int, change ...func(*controller.Config)) (stop func()) {
	s.t.Helper()
	cfg := controller.DefaultConfig()
	cfg.ID, cfg.ExpectHosts = id, 1
	cfg.Services = []controller.ServiceConfig{{Name: "web", ConfigHash: "1", Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) {
		base.Replicas = replicas
		return base, nil
	}}}
	for _, f := range change {
		f(&cfg)
	}
	open := func(ctx context.Context, name string) (controller.Bucket, error) {
		b, err := conn.Bucket(ctx, name)
		if err == nil && name == events.BucketLease {
			return countedLease{b, &s.begun}, nil
		}
		if err == nil && name == events.BucketAssign && s.wrap != nil {
			return s.wrap(b), nil
		}
		return b, err
	}
	c, err := controller.New(cfg, conn, open, logs, testkit.Quiet)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return stop
}

// host pretends to be an agent: what it is assigned is ready at once.
func (s *site) host(name string) {
	s.t.Helper()
	conn := s.connect()
	var mu sync.Mutex
	var have events.Assignment
	var foreign []events.InstanceSpec
	heartbeat := func() {
		mu.Lock()
		defer mu.Unlock()
		b := events.HostHeartbeat{Host: name, Incarnation: name + "-1", Sent: time.Now(), Instances: []events.InstanceStatus{}}
		for i, spec := range have.Instances {
			b.Instances = append(b.Instances, events.InstanceStatus{Name: spec.Name, Service: spec.Service, ID: spec.ID, Kind: spec.Kind, Volume: spec.Volume, State: events.Ready, Address: fmt.Sprintf("127.0.0.1:%d", 20000+i)})
		}
		_ = conn.Publish(events.AgentSubject(name), b)
	}
	s.background(func(ctx context.Context) {
		b, err := conn.Bucket(ctx, events.BucketAssign)
		if err != nil {
			return
		}
		_ = b.Watch(ctx, name, func(e events.Entry) {
			if a, err := events.DecodeAssignment(e.Value); err == nil {
				mu.Lock()
				// An agent stops nothing that only another bus has named.
				if have.Term.Incarnation != a.Term.Incarnation {
					foreign = have.Instances
				}
				for _, i := range foreign {
					if !slices.ContainsFunc(a.Instances, func(n events.InstanceSpec) bool { return n.Name == i.Name }) {
						a.Instances = append(a.Instances, i)
					}
				}
				have = a
				mu.Unlock()
				heartbeat()
			}
		})
	})
	s.background(func(ctx context.Context) { every(ctx, heartbeat) })
}

// router pretends to serve every route at once.
func (s *site) router(id string) {
	s.t.Helper()
	conn := s.connect()
	var mu sync.Mutex
	epochs, tables := map[string]events.Epoch{}, map[string]events.Epoch{}
	heartbeat := func() {
		mu.Lock()
		defer mu.Unlock()
		_ = conn.Publish(events.RouterSubject(id), events.RouterHeartbeat{Router: id, Sent: time.Now(), Epochs: epochs, Tables: tables})
	}
	s.background(func(ctx context.Context) {
		b, err := conn.Bucket(ctx, events.BucketRoutes)
		if err != nil {
			return
		}
		_ = b.Watch(ctx, "", func(e events.Entry) {
			if r, err := events.DecodeRoute(e.Value); err == nil {
				mu.Lock()
				epochs[r.Service] = e.Version
				mu.Unlock()
				heartbeat()
			} else if r, err := events.DecodeTableRoute(e.Value); err == nil {
				mu.Lock()
				tables[r.Table.Name] = e.Version
				mu.Unlock()
				heartbeat()
			}
		})
	})
	s.background(func(ctx context.Context) { every(ctx, heartbeat) })
}

func every(ctx context.Context, f func()) {
	tick := time.NewTicker(events.HeartbeatInterval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *site) background(f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	s.t.Cleanup(func() { cancel(); <-done })
}

func (s *site) status() (st events.Status, err error) {
	err = testkit.Try(5*time.Second, func() error { // on a busy machine a leader may lose its term
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
		defer cancel()
		return s.conn.Request(ctx, events.APIStatus, struct{}{}, &st)
	})
	return st, err
}

func (s *site) scale(verb string, req events.ScaleRequest) (events.ScaleReply, error) {
	s.t.Helper()
	return call[events.ScaleReply](s, verb, req)
}

func (s *site) serving(want int) {
	s.t.Helper()
	testkit.Eventually(s.t, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		if len(st.Services) != 1 || st.Services[0].Serving != want {
			return fmt.Errorf("services %+v", st.Services)
		}
		return nil
	})
}

func (s *site) events() (all []events.Event) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	if err := s.conn.History(ctx, time.Now().Add(-time.Hour), false, func(e events.Event) error { all = append(all, e); return nil }); err != nil {
		s.t.Fatal(err)
	}
	return all
}
