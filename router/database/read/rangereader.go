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
)

// maxStarts is how often an answer is started of which nothing was sent yet.
const maxStarts = 3

// rangeReader reads an answer: the rows of some shards, one after the other, while
// the next few shards are scanned ahead. After an error of Read the connection to
// the client has to be closed, so that the answer does not look whole.
type rangeReader struct {
	head, tail []byte
	parts      []*scan

	ctx    context.Context // ended by Close
	close  func()          // once
	work   sync.WaitGroup  // of scans
	ahead  int
	state  int
	inside bool     // parts[0].before was handed out
	rows   bool     // the list that is open has rows
	ready  [][]byte // comes next
	spare  []byte   // a buffer to swap for the next rows
	err    error
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
	return nil
}

const (
	atHead = iota
	inParts
	atTail
	atEnd
)

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

// next is the next piece of the answer, if it is not empty; it is good until
// the next call.
func (m *rangeReader) next() ([]byte, error) {
	switch m.state {
	case atHead:
		m.state = inParts
		return m.head, nil
	case inParts:
		if len(m.parts) > 0 {
			return m.nextRows()
		}
		m.state = atTail
		return nil, nil
	case atTail:
		m.state = atEnd
		return m.tail, nil
	}
	return nil, io.EOF
}

func (m *rangeReader) nextRows() ([]byte, error) {
	for i := range min(m.ahead, len(m.parts)) {
		if p := m.parts[i]; !p.started {
			p.started = true
			m.work.Go(func() { p.run(m.ctx) })
		}
	}
	p := m.parts[0]
	first := !m.inside
	if m.inside = true; first && p.before != nil {
		m.rows = false
		return p.before, nil
	}
	rows, err := p.take(m.ctx, m.spare)
	switch {
	case errors.Is(err, io.EOF):
		m.parts, m.inside = m.parts[1:], false
		return p.after, nil
	case err != nil:
		return nil, err
	}
	m.spare = rows
	if m.rows && !p.begun {
		m.ready = append(m.ready, comma)
	}
	p.begun, m.rows = true, true
	return rows, nil
}

var comma = []byte{','}
