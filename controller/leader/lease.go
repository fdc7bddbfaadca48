package leader

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ringway/controller/cluster"
	"ringway/events"
)

// Lease is leadership for one term. It is held by renewing one key. Whoever
// stands by leads next when the key is deleted, or was not renewed for LeaseTTL.
type Lease struct {
	bucket  Bucket
	holder  string
	nonce   string                    // distinguishes its values from those of a controller of the same name
	Token   events.Token              // of the term's first write; renewals do not change it
	last    events.Version            // of the newest renewal
	expires atomic.Pointer[time.Time] // this leader must not decide after it
}

type leaseValue struct {
	Controller string    `json:"controller"`
	Nonce      string    `json:"nonce"`
	Sent       time.Time `json:"sent"`
}

// standby is what is seen of another one's lease. How old that is, is known by
// this process's own monotonic clock alone: a bus whose clock was ahead before a
// power cut would let it expire as much later, and one whose clock leaps at
// once.
type standby struct {
	lease events.Version
	since time.Time // it was seen first
}

// acquire tries once; events.ErrConflict means that somebody else leads, or may.
func (s *standby) acquire(ctx context.Context, b Bucket, cfg cluster.Config) (*Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.CallTimeout)
	defer cancel()
	l := &Lease{bucket: b, holder: cfg.ID, nonce: rand.Text()}
	sent := time.Now()
	var v events.Version
	there, err := b.Get(ctx, events.LeaseKey)
	switch {
	case errors.Is(err, events.ErrNotFound):
		if _, err = b.Repair(ctx, false); err == nil {
			v, err = b.Create(ctx, events.LeaseKey, l.value(sent))
		}
	case err != nil:
	case there.Version != s.lease:
		s.lease, s.since = there.Version, time.Now()
		err = events.ErrConflict
	case sent.Sub(s.since) < cfg.LeaseTTL:
		err = events.ErrConflict
	default:
		v, err = b.Update(ctx, events.LeaseKey, l.value(sent), there.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("take the lease: %w", err)
	}
	l.Token, l.last = v, v
	l.extend(sent, cfg)
	return l, nil
}

// hold renews until ctx ends or the lease is lost, and returns which. After a
// failure it tries again soon: a bus that is back must not find the lease run out.
func (l *Lease) hold(ctx context.Context, cfg cluster.Config) error {
	next := time.NewTimer(cfg.RenewEvery)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
		}
		sent := time.Now()
		err := l.renew(ctx, cfg, sent)
		switch {
		case err == nil:
			l.extend(sent, cfg)
			next.Reset(cfg.RenewEvery)
		case errors.Is(err, events.ErrConflict):
			return fmt.Errorf("renew the lease: %w", err)
		case !l.valid(time.Now()):
			return fmt.Errorf("renew the lease for %s: %w", cfg.LeaseValid, err)
		default:
			next.Reset(cfg.RenewEvery / 10)
		}
	}
}

// renew tries once. What stands in its way may be a renewal of this term that
// was stored and never acknowledged.
func (l *Lease) renew(ctx context.Context, cfg cluster.Config, sent time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.RenewEvery)
	defer cancel()
	v, err := l.bucket.Update(ctx, events.LeaseKey, l.value(sent), l.last)
	if errors.Is(err, events.ErrConflict) {
		stored, unknown := l.stored(ctx)
		if unknown != nil || !stored.After(l.last) {
			return err
		}
		v, err = l.bucket.Update(ctx, events.LeaseKey, l.value(sent), stored)
	}
	if err == nil {
		l.last = v
	}
	return err
}

// stored is the version of the lease in the bucket, if it is of this term.
func (l *Lease) stored(ctx context.Context) (events.Version, error) {
	e, err := l.bucket.Get(ctx, events.LeaseKey)
	if err != nil {
		return events.Version{}, err
	}
	var v leaseValue
	if err := json.Unmarshal(e.Value, &v); err != nil || v.Nonce != l.nonce {
		return events.Version{}, events.ErrConflict
	}
	return e.Version, nil
}

func (l *Lease) extend(sent time.Time, cfg cluster.Config) {
	until := sent.Add(cfg.LeaseValid)
	l.expires.Store(&until)
}

// valid reports whether the leader may still decide: by the monotonic clock,
// which nobody can set back, and by the wall's, which goes on while a virtual
// machine is paused.
func (l *Lease) valid(now time.Time) bool {
	until := *l.expires.Load()
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// release lets a standby take over at once, also in a new incarnation that the bucket
// began with this lease in it. Failing is harmless: the lease ends by its age.
func (l *Lease) release(ctx context.Context) {
	last := l.last
	if stored, err := l.stored(ctx); err == nil {
		last = stored
	}
	_ = l.bucket.Delete(ctx, events.LeaseKey, last)
}

func (l *Lease) value(sent time.Time) []byte {
	return encode(leaseValue{l.holder, l.nonce, sent.UTC()})
}
