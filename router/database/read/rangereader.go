package read

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/events"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/edge"
)

// maxStarts is how often an answer is started of which nothing was sent yet.
const maxStarts = 3

// rangeReader reads an answer: the rows of some shards, one after the other, while
// the next few shards are scanned ahead. After an error of Read the connection to
// the client has to be closed, so that the answer does not look whole.
type rangeReader struct {
	pieces []piece // what is left of the answer

	ctx   context.Context // ended by Close
	close func()          // once
	sent  func()          // nil if it is not sent while it is read
	work  sync.WaitGroup  // of scans
	ahead int
	rows  bool     // the list that is open has rows
	ready [][]byte // comes next
	spare []byte   // a buffer to swap for the next rows
	err   error
}

// piece is a part of an answer: a text, or else the rows of a scan. Scans without
// a text between them are one list.
type piece struct {
	text []byte
	scan *scan
}

var errClosed = errors.New("the client is gone")

// stream answers with what begin makes. An answer of at most cfg.Hold bytes is sent
// in one piece, and started over if it fails; a longer one is sent while it is read.
func (r *Reader) stream(ctx *fasthttp.RequestCtx, begin func() *rangeReader) error {
	old := !ctx.Request.Header.IsHTTP11()
	limit := r.cfg.Hold
	if old {
		limit = r.cfg.MaxOld
	}
	var failed error
	for range maxStarts {
		m := begin()
		if !r.open(m) {
			return events.StatusErrorf(http.StatusServiceUnavailable, "the router is stopping")
		}
		held, err := io.ReadAll(io.LimitReader(m, int64(limit)+1))
		switch {
		case err != nil:
			_ = m.Close() // never fails
			if failed = err; !errors.Is(err, errIncomplete) {
				return api.Unavailable(err)
			}
			continue
		case len(held) <= limit:
			_ = m.Close() // never fails
			answer.JSON(ctx, http.StatusOK, held)
			return nil
		case old:
			_ = m.Close() // never fails
			return events.StatusErrorf(http.StatusHTTPVersionNotSupported, "an answer of more than %d bytes: use HTTP/1.1", limit)
		}
		m.ready = slices.Insert(m.ready, 0, held)
		answer.JSON(ctx, http.StatusOK, nil)
		m.sent = edge.LongAnswer(ctx)
		ctx.Response.SetBodyStream(m, -1)
		return nil
	}
	return api.Unavailable(failed)
}

// open makes m ready to be read. The group waits until it is closed.
func (r *Reader) open(m *rangeReader) bool {
	run, done := r.group.Hold()
	if run == nil {
		return false
	}
	ctx, stop := context.WithCancelCause(run)
	m.ctx, m.ahead = ctx, r.cfg.Ahead
	m.close = sync.OnceFunc(func() {
		stop(errClosed)
		m.work.Wait()
		done()
	})
	return true
}

// Close ends the scans.
func (m *rangeReader) Close() error {
	m.close()
	if m.sent != nil {
		m.sent()
	}
	return nil
}

// Read implements io.Reader.
func (m *rangeReader) Read(b []byte) (int, error) {
	for m.err == nil && len(m.ready) == 0 {
		var text []byte
		if text, m.err = m.next(); len(text) > 0 {
			m.ready = append(m.ready, text)
		}
	}
	if len(m.ready) == 0 {
		return 0, m.err
	}
	n := copy(b, m.ready[0])
	if m.ready[0] = m.ready[0][n:]; len(m.ready[0]) == 0 {
		m.ready = m.ready[1:]
	}
	return n, nil
}

// next is the next part of the answer, if it is not empty; it is good until the
// next call.
func (m *rangeReader) next() ([]byte, error) {
	if len(m.pieces) == 0 {
		return nil, io.EOF
	}
	m.scanAhead()
	p := m.pieces[0]
	if p.scan == nil {
		m.pieces, m.rows = m.pieces[1:], false
		return p.text, nil
	}
	rows, err := p.scan.take(m.ctx, m.spare)
	switch {
	case errors.Is(err, io.EOF):
		m.pieces = m.pieces[1:]
		return nil, nil
	case err != nil:
		return nil, err
	}
	m.spare = rows
	if m.rows && !p.scan.begun {
		m.ready = append(m.ready, comma)
	}
	p.scan.begun, m.rows = true, true
	return rows, nil
}

// scanAhead starts the next scans.
func (m *rangeReader) scanAhead() {
	scans := 0
	for _, p := range m.pieces {
		if p.scan == nil {
			continue
		}
		if scans++; scans > m.ahead {
			return
		}
		if !p.scan.started {
			p.scan.started = true
			m.work.Go(func() { p.scan.run(m.ctx) })
		}
	}
}

var comma = []byte{','}
