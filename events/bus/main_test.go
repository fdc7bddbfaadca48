package bus_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"ringway/events"
	"ringway/events/bus"
	"ringway/events/bus/kv"
	"ringway/internal/testkit"
)

func TestMain(m *testing.M) {
	if testkit.ServeBus() {
		return
	}
	goleak.VerifyTestMain(m)
}

func bucket(t *testing.T, c *bus.Conn, name string) *kv.Bucket {
	t.Helper()
	b, err := c.Bucket(testkit.Context(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameText(got []byte, want string) error {
	if string(got) != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// recorder collects what a callback was given.
type recorder[T any] struct {
	mu  sync.Mutex
	all []T
}

func (r *recorder[T]) add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, v)
}

func (r *recorder[T]) list() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), r.all...)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func at(v events.Version, revision uint64) events.Version { v.Revision = revision; return v }
