package proxy

import (
	"github.com/valyala/fasthttp"

	"ringway/router/upstream"
)

// maxEjected bounds how many ejected members one request is offered to when
// no other is left.
const maxEjected = 3

// retry goes on with a request that failed at m. It returns the member that
// answered, or the error to report; in that case the request has left.
//
// What was not sent may go to the next choice whatever it is. What was sent
// may be repeated only if it is idempotent, no byte of an answer went to the
// client (none has, here), and the budget allows. When a kept connection ended,
// since that is what a server that closes idle connections looks like, the
// member was tried again already, by upstream.Pool.Do.
func (p *Proxy) retry(ctx *fasthttp.RequestCtx, snap *Snapshot, hash uint64, m *member, err error, req *upstream.Request) (*member, error) {
	var tried []*member
	for ejected := 0; ; {
		switch f := asFailure(err); f.Kind {
		case upstream.Unreachable:
			p.eject(m, f)
			m.metrics.retries.Inc()
		case upstream.Broken:
			if !req.MayResend() {
				m.leave()
				return nil, err
			}
		default:
			m.leave()
			return nil, err
		}
		m.leave()
		tried = append(tried, m)
		var next *member
		if snap, next = p.enter(snap, hash, tried); next == nil {
			return nil, err
		}
		m, req.Budget = next, next
		if !m.up() {
			if ejected++; ejected > maxEjected {
				m.leave()
				return nil, err
			}
		}
		if err = m.exchange(ctx, req); err == nil {
			return m, nil
		}
	}
}

// idempotent methods may be sent twice (RFC 9110, 9.2.2).
func idempotent(h *fasthttp.RequestHeader) bool {
	return h.IsGet() || h.IsHead() || h.IsPut() || h.IsDelete() || h.IsOptions()
}
