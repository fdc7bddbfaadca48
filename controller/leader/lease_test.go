package leader

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
	"ringway/internal/testkit"
)

// isolated stores renewals and gets no answer, as often as is left.
type isolated struct {
	Bucket
	left int
}

func (d *isolated) Update(ctx context.Context, key string, value []byte, last events.Version) (events.Version, error) {
	v, err := d.Bucket.Update(ctx, key, value, last)
	if d.left > 0 && err == nil {
		d.left--
		return events.Version{}, events.ErrUnknownOutcome
	}
	return v, err
}

func leases(t *testing.T) (*isolated, cluster.Config) {
	t.Helper()
	b, err := testkit.Connect(t, testkit.StartBus(t).URL()).Bucket(t.Context(), events.BucketLease)
	if err != nil {
		t.Fatal(err)
	}
	cfg := cluster.DefaultConfig()
	cfg.ID = "controller-1"
	return &isolated{Bucket: b}, cfg
}

func acquired(t *testing.T, b Bucket, cfg cluster.Config) *Lease {
	t.Helper()
	l, err := new(standby).acquire(t.Context(), b, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLease_GoesOnAfterARenewalWithoutAnswer(t *testing.T) {
	b, cfg := leases(t)
	l := acquired(t, b, cfg)
	b.left = 1
	if err := l.renew(t.Context(), cfg, time.Now()); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	if err := l.renew(t.Context(), cfg, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := l.renew(t.Context(), cfg, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestLease_ReleaseAfterARenewalWithoutAnswer(t *testing.T) {
	b, cfg := leases(t)
	l := acquired(t, b, cfg)
	b.left = 1
	_ = l.renew(t.Context(), cfg, time.Now())
	l.release(t.Context())
	acquired(t, b, cfg)
}

func TestLease_OfAnotherControllerWithTheSameNameIsLeftAlone(t *testing.T) {
	b, cfg := leases(t)
	old := acquired(t, b, cfg)
	old.release(t.Context())
	heir := acquired(t, b, cfg)
	if err := old.renew(t.Context(), cfg, time.Now()); !errors.Is(err, events.ErrConflict) {
		t.Fatalf("renewed with %v", err)
	}
	old.release(t.Context())
	if err := heir.renew(t.Context(), cfg, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// A leader that died does not renew: whoever stands by takes its lease over
// when it has seen it unmoved for LeaseTTL, not before, whatever the bus's clock says.
func TestLease_IsTakenOverWhenItWasNotRenewed(t *testing.T) {
	b, cfg := leases(t)
	cfg.LeaseTTL = time.Hour
	dead := acquired(t, b, cfg)
	s := &standby{}
	f := func(seen time.Duration, want error) *Lease {
		t.Helper()
		s.since = s.since.Add(-seen)
		l, err := s.acquire(t.Context(), b, cfg)
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return l
	}
	f(0, events.ErrConflict)
	f(30*time.Minute, events.ErrConflict)
	testkit.Must(t, dead.renew(t.Context(), cfg, time.Now()))
	f(2*time.Hour, events.ErrConflict)
	heir := f(time.Hour, nil)
	if !heir.Token.After(dead.Token) {
		t.Errorf("term %s does not follow %s", heir.Token, dead.Token)
	}
	if err := dead.renew(t.Context(), cfg, time.Now()); !errors.Is(err, events.ErrConflict) {
		t.Errorf("the dead one renewed with %v", err)
	}
	testkit.Must(t, heir.renew(t.Context(), cfg, time.Now()))
}

// away fails at once, as a bus does that nobody is connected to.
type away struct {
	Bucket
	until time.Time
}

func (a *away) Update(context.Context, string, []byte, events.Version) (events.Version, error) {
	if time.Now().Before(a.until) {
		return events.Version{}, errors.New("the bus is away")
	}
	return events.Version{Incarnation: "bus", Revision: 2}, nil
}

func TestLease_DoesNotRunOutAfterTheBusIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := cluster.DefaultConfig()
		restarted := time.Now().Add(-cfg.RenewEvery / 2)
		l := &Lease{bucket: &away{until: restarted.Add(cfg.LeaseValid - cfg.RenewEvery/5)}}
		l.extend(restarted, cfg)
		ctx, end := context.WithTimeoutCause(t.Context(), 2*cfg.LeaseValid, errors.New("enough"))
		defer end()
		watched := make(chan error, 1)
		go func() {
			for range time.Tick(10 * time.Millisecond) {
				if ctx.Err() != nil {
					watched <- nil
					return
				}
				if !l.valid(time.Now()) {
					watched <- fmt.Errorf("it was not valid at %s", time.Now())
					return
				}
			}
		}()
		if err := l.hold(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := <-watched; err != nil {
			t.Error(err)
		}
	})
}
