package controller_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"ringway/controller"
	"ringway/events"
	"ringway/events/size"
	"ringway/internal/testkit"
)

// withEnv has the service run with an environment of so many bytes.
func withEnv(replicas, bytes int) func(*controller.Config) {
	return func(cfg *controller.Config) {
		cfg.Services[0].Overlay = func(base events.ServiceSpec) (events.ServiceSpec, error) {
			base.Replicas = replicas
			base.Env = map[string]string{"LARGE": strings.Repeat("x", bytes)}
			return base, nil
		}
	}
}

// terms are the terms that begun, by their events.
func (s *site) terms() (n int) {
	s.t.Helper()
	for _, e := range s.events() {
		if e.Entity == events.EntityController && e.Verb == events.VerbElected {
			n++
		}
	}
	return n
}

// Of 200 replicas with 50 KB each the assignment would take 10 MB if it
// repeated them, and a bus takes 1 MiB.
func TestController_RunsManyReplicasWithALargeEnvironment(t *testing.T) {
	s := newSite(t)
	conn := s.connect()
	s.leadWith(conn, conn, "c1", 1, withEnv(200, 50_000))
	s.host("h1")
	s.router("r1")
	s.serving(200)
	b, err := s.conn.Bucket(t.Context(), events.BucketAssign)
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Get(t.Context(), "h1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := events.DecodeAssignment(e.Value)
	if err != nil || len(a.Instances) != 200 {
		t.Fatalf("%d instances are assigned, %v", len(a.Instances), err)
	}
	for _, i := range a.Instances {
		if len(i.Env["LARGE"]) != 50_000 {
			t.Fatalf("%s has %d bytes of environment, want 50000", i.Name, len(i.Env["LARGE"]))
		}
	}
	if n := s.terms(); n != 1 {
		t.Errorf("%d terms begun, want one", n)
	}
}

func TestController_RefusesAnEnvironmentThatCannotBeStored(t *testing.T) {
	s := newSite(t)
	conn := s.connect()
	s.leadWith(conn, conn, "c1", 1, withEnv(2, size.MaxSpecBytes), func(cfg *controller.Config) {
		cfg.Services = append(cfg.Services, controller.ServiceConfig{Name: "small", ConfigHash: "1", Overlay: func(base events.ServiceSpec) (events.ServiceSpec, error) {
			base.Replicas = 2
			return base, nil
		}})
	})
	s.host("h1")
	s.router("r1")
	s.serving(2) // of the one that can be
	testkit.Eventually(t, func() error {
		for _, e := range s.events() {
			if e.Entity == events.EntityService && e.Verb == events.VerbRefused && e.About == "web" && strings.Contains(string(e.Data), fmt.Sprint(size.MaxSpecBytes)) {
				return nil
			}
		}
		return errors.New("nobody was told")
	})
}

// tooSmall is a bucket of a bus that refuses values of one key.
type tooSmall struct {
	controller.Bucket
	key     string
	refused *atomic.Int64
}

func (b tooSmall) refuse(key string) error {
	if key != b.key {
		return nil
	}
	b.refused.Add(1)
	return fmt.Errorf("store %s: %w", key, events.ErrRefused)
}

func (b tooSmall) Create(ctx context.Context, key string, value []byte) (events.Version, error) {
	if err := b.refuse(key); err != nil {
		return events.Version{}, err
	}
	return b.Bucket.Create(ctx, key, value)
}

func (b tooSmall) Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error) {
	if err := b.refuse(key); err != nil {
		return events.Version{}, err
	}
	return b.Bucket.Update(ctx, key, value, last)
}

func TestController_AValueThatCannotBeStoredCostsNothingElse(t *testing.T) {
	s := newSite(t)
	conn := s.connect()
	var refused atomic.Int64
	s.wrap = func(b controller.Bucket) controller.Bucket { return tooSmall{b, "h1", &refused} }
	s.leadWith(conn, conn, "c1", 4)
	s.host("h1") // gets nothing
	s.host("h2")
	s.router("r1")
	s.serving(4)
	if _, err := s.scale(events.APIAdd, events.ScaleRequest{ID: "r1", N: 2}); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range s.events() {
		if e.Entity == events.EntityBus && e.Verb == events.VerbRefused {
			told++
		}
	}
	if n := s.terms(); n != 1 || told != 1 || refused.Load() == 0 {
		t.Errorf("%d terms, told %d times, refused %d times; want one term, and to be told once", n, told, refused.Load())
	}
}
