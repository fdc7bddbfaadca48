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
	"ringway/router/upstream"
)

// maxEjected bounds how many ejected members one request is offered to when
// no other is left.
const maxEjected = 3

// retry goes on with a request that failed at u. It returns the member that
// answered, or the error to report; in that case the request has left.
//
// What was not sent may go to the next choice whatever it is. What was sent
// may be repeated only if it is idempotent, no byte of an answer went to the
// client (none has, here), and the budget allows. When a kept connection ended,
// since that is what a server that closes idle connections looks like, the
// member was tried again already, by upstream.Pool.Do.
func (r *Router) retry(ctx *fasthttp.RequestCtx, rt *routes, hash uint64, u *member, err error, req *upstream.Request) (*member, error) {
	var tried []*member
	for ejected := 0; ; {
		switch f := asFailure(err); f.Kind {
		case upstream.Unreachable:
			r.eject(u, f)
			u.metrics.retries.Inc()
		case upstream.Broken:
			if !req.MayResend() {
				u.leave()
				return nil, err
			}
		default:
			u.leave()
			return nil, err
		}
		u.leave()
		tried = append(tried, u)
		var next *member
		if rt, next = r.enterNext(rt, hash, tried); next == nil {
			return nil, err
		}
		u, req.Budget = next, next
		if !u.up() {
			if ejected++; ejected > maxEjected {
				u.leave()
				return nil, err
			}
		}
		if err = u.exchange(ctx, req); err == nil {
			return u, nil
		}
	}
}

// enterNext is enter for a request that was tried already.
func (r *Router) enterNext(rt *routes, hash uint64, tried []*member) (*routes, *member) {
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
func (r *Router) eject(u *member, f *upstream.Failure) {
	if !u.eject(r.cfg.TrialAfter) {
		return
	}
	u.metrics.ejections.Inc()
	u.pool.CloseIdle()
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

func (r *Router) try(u *member) {
	err := u.pool.Probe()
	u.tried(err == nil, time.Now(), r.cfg.MaxTrial)
	if err == nil {
		r.log.Info("member readmitted", events.KeyInstance, u.name, events.KeyAddress, u.address)
	}
	notify(r.trialNow)
}

func asFailure(err error) *upstream.Failure {
	var f *upstream.Failure
	if errors.As(err, &f) {
		return f
	}
	return &upstream.Failure{Kind: upstream.Garbled, Err: err}
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
