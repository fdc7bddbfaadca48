package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ringway/events"
)

// lease is leadership for one term. It is held by renewing one key before the
// bucket lets it expire; whoever creates the key next leads after it.
type lease struct {
	bucket  Bucket
	holder  string
	token   events.Token              // of the Create; renewals do not change it
	last    events.Version            // of the newest renewal
	expires atomic.Pointer[time.Time] // this leader must not decide after it
}

type leaseValue struct {
	Controller string    `json:"controller"`
	Sent       time.Time `json:"sent"`
}

// acquire tries once; events.ErrConflict means that somebody else leads.
func acquire(ctx context.Context, b Bucket, cfg Config) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.CallTimeout)
	defer cancel()
	sent := time.Now()
	v, err := b.Create(ctx, events.LeaseKey, leaseNow(cfg.ID, sent))
	if err != nil {
		return nil, fmt.Errorf("create the lease: %w", err)
	}
	l := &lease{bucket: b, holder: cfg.ID, token: v, last: v}
	l.extend(sent, cfg)
	return l, nil
}

// hold renews until ctx ends or the lease is lost, and says which.
func (l *lease) hold(ctx context.Context, cfg Config) error {
	tick := time.NewTicker(cfg.RenewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		sent := time.Now()
		call, cancel := context.WithTimeout(ctx, cfg.RenewEvery)
		v, err := l.bucket.Update(call, events.LeaseKey, leaseNow(l.holder, sent), l.last)
		cancel()
		switch {
		case err == nil:
			l.last = v
			l.extend(sent, cfg)
		case errors.Is(err, events.ErrConflict):
			return fmt.Errorf("renew the lease: %w", err)
		case !l.valid(time.Now()):
			return fmt.Errorf("renew the lease for %s: %w", cfg.LeaseValid, err)
		}
	}
}

func (l *lease) extend(sent time.Time, cfg Config) {
	until := sent.Add(cfg.LeaseValid)
	l.expires.Store(&until)
}

// valid reports whether the leader may still decide: by the monotonic clock,
// which nobody can set back, and by the wall's, which goes on while a virtual
// machine is paused.
func (l *lease) valid(now time.Time) bool {
	until := *l.expires.Load()
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// release lets a standby take over at once. Failing is harmless: the lease expires.
func (l *lease) release(ctx context.Context) { _ = l.bucket.Delete(ctx, events.LeaseKey, l.last) }

func leaseNow(id string, sent time.Time) []byte {
	b, err := json.Marshal(leaseValue{id, sent.UTC()})
	if err != nil {
		panic("BUG: lease: " + err.Error())
	}
	return b
}
