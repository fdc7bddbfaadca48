package router

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/ring"
)

// maxSends bounds how often one request may be sent; attempts that could not
// connect do not count, since each of them ejects a member.
const maxSends = 4

// maxEjected bounds how many ejected members one request is offered to when
// no other is left.
const maxEjected = 3

// retry goes on with a request that failed at u. It returns the member that
// answered, or the error to report; in that case the request has left.
//
// What was not sent may go to the next choice whatever it is. What was sent
// may be repeated only if it is idempotent, no byte of an answer went to the
// client (none has, here), and the budget allows: first on a fresh connection
// if a kept one ended, since that is what a server that closes idle
// connections looks like, then at the next choice.
func (r *Router) retry(ctx *fasthttp.RequestCtx, rt *routes, hash uint64, u *upstream, err error, deadline time.Time) (*upstream, error) {
	var tried []*upstream
	for sends, ejected := 1, 0; ; {
		f := asFailure(err)
		switch f.kind {
		case unreachable:
			r.eject(u, f)
			u.metrics.retries.Inc()
		case stale, broken:
			if sends++; sends > maxSends || !idempotent(&ctx.Request.Header) || !r.budget.spend() {
				u.leave()
				return nil, err
			}
			u.metrics.retries.Inc()
		default:
			u.leave()
			return nil, err
		}
		if f.kind == stale {
			if err = u.wire.exchange(ctx, deadline, true); err == nil {
				return u, nil
			}
			continue
		}
		u.leave()
		tried = append(tried, u)
		var next *upstream
		if rt, next = r.enterNext(rt, hash, tried); next == nil {
			return nil, err
		}
		u = next
		if !u.up() {
			if ejected++; ejected > maxEjected {
				u.leave()
				return nil, err
			}
		}
		if err = u.wire.exchange(ctx, deadline, false); err == nil {
			return u, nil
		}
	}
}

// enterNext is enter for a request that was tried already.
func (r *Router) enterNext(rt *routes, hash uint64, tried []*upstream) (*routes, *upstream) {
	for {
		if rt.service == nil {
			return rt, nil
		}
		var skip ring.Set
		for i, u := range rt.service.members {
			for _, t := range tried {
				if t == u {
					skip.Add(i)
				}
			}
		}
		i := rt.service.choose(rt.service.table.Slot(hash), &skip)
		if i < 0 {
			return rt, nil
		}
		u := rt.service.members[i]
		u.enter()
		now := r.routes.Load()
		if now == rt {
			return rt, u
		}
		u.leave()
		rt = now
	}
}

// eject takes a member that cannot be reached out of this router's choice.
func (r *Router) eject(u *upstream, f *failure) {
	if !u.eject(r.cfg.TrialAfter) {
		return
	}
	u.metrics.ejections.Inc()
	u.wire.closeIdle()
	notify(r.trialNow)
	r.log.Warn("member ejected", events.KeyInstance, u.name, events.KeyAddress, u.address, events.KeyError, f)
}

// tryEjected connects to each ejected member when its time comes, and takes
// those back that answer. No client waits for a trial.
func (r *Router) tryEjected(ctx context.Context) {
	var trials sync.WaitGroup
	defer trials.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.trialNow:
		}
		now, wait := time.Now(), time.Hour
		for _, s := range r.routes.Load().services {
			for _, u := range s.members {
				due, at := u.trialDue(now)
				if due {
					trials.Go(func() { r.try(u) })
				} else if !at.IsZero() {
					wait = min(wait, at.Sub(now))
				}
			}
		}
		timer.Reset(wait)
	}
}

func (r *Router) try(u *upstream) {
	err := u.wire.probe()
	u.tried(err == nil, time.Now(), r.cfg.MaxTrial)
	if err == nil {
		r.log.Info("member readmitted", events.KeyInstance, u.name, events.KeyAddress, u.address)
	}
	notify(r.trialNow)
}

func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{garbled, err}
}

// idempotent methods may be sent twice (RFC 9110, 9.2.2).
func idempotent(h *fasthttp.RequestHeader) bool {
	return h.IsGet() || h.IsHead() || h.IsPut() || h.IsDelete() || h.IsOptions()
}

// budget bounds the load that retries add. Each request earns one coin, a
// retry costs price coins, and at most most coins are kept.
type budget struct {
	coins       atomic.Int64
	price, most int64
}

func (b *budget) fill(burst, ratio int) {
	b.price, b.most = int64(ratio), int64(burst)*int64(ratio)
	b.coins.Store(b.most)
}

func (b *budget) earn() {
	if b.coins.Load() < b.most {
		b.coins.Add(1)
	}
}

func (b *budget) spend() bool {
	if b.coins.Add(-b.price) >= 0 {
		return true
	}
	b.coins.Add(b.price)
	return false
}
