package read

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"ringway/events/strictjson"
	"ringway/router/answer"
	"ringway/router/database/api"
	"ringway/router/database/catalog"
)

// maxPage is how many bytes of rows a page has, or one row more: a page is held in
// memory, whatever its limit is.
const maxPage = 4 << 20

// parsePage reads the fields of a page of rows up to high: at most limit of them,
// 0 is all, those with keys above after. It returns where they begin; none: there
// are no such keys.
func parsePage(key string, o strictjson.Object, low, high int64) (from int64, limit int, none bool) {
	has := func(field string) bool { return o.Has(field) && !strings.EqualFold(field, key) } // a stored table may call its key so
	if has("limit") {
		if limit = o.Int("limit"); limit < 1 {
			o.Fail(api.BadRequest("limit is %d; it must be at least 1", limit))
		}
	}
	if !has("after") {
		return low, limit, false
	}
	after := o.Key("after", false)
	if after >= high {
		return low, limit, true
	}
	return max(low, after+1), limit, false
}

// readPage answers with the first rows of some shards.
func (r *Reader) readPage(whole context.Context, ctx *fasthttp.RequestCtx, t *catalog.Table, shards []*catalog.Shard, minSeqs []uint64, low, high int64, limit int) error {
	for try := 1; ; try++ {
		p := page{left: limit}
		err := p.read(whole, r, shards, minSeqs, low, high)
		if errors.Is(err, errIncomplete) && try < maxStarts {
			continue
		}
		if err != nil {
			return api.Unavailable(err)
		}
		body := append(headOf(p.asked), p.rows...)
		if p.more {
			row, err := t.Schema().ReadRow(p.last)
			if err != nil {
				return api.Unavailable(err)
			}
			body = strconv.AppendInt(append(body, `],"next":`...), row.Key(), 10)
			body = append(body, `,"status":"success"}`...)
		} else {
			body = append(body, tailOfRead...)
		}
		answer.JSON(ctx, http.StatusOK, body)
		return nil
	}
}

// page is what was read of one.
type page struct {
	asked []*catalog.Shard
	rows  []byte // with commas between them
	left  int    // rows that it may still have
	last  []byte // row
	more  bool   // there are rows behind it
}

// read reads one shard after the other, since a page seldom reaches into the next
// one, and of each a window of keys that is as wide as the page and then twice as
// wide as the one before: a shard server does not know where a page ends, and
// would read on.
func (p *page) read(ctx context.Context, r *Reader, shards []*catalog.Shard, minSeqs []uint64, low, high int64) error {
	width := int64(p.left)
	for i, s := range shards {
		p.asked = append(p.asked, s)
		end, minSeq := min(high, s.High()), minSeqs[i]
		for from, to := max(low, s.Low), int64(0); ; from = to + 1 {
			if to = end; end-from >= width {
				to = from + width - 1
			}
			width = min(width, math.MaxInt64/2) * 2
			if err := p.add(ctx, r.newScan(s, minSeq, from, to, nil)); err != nil || p.more {
				return err
			}
			if to == end {
				break
			}
			if minSeq > 0 { // it shows nothing older than what it has shown
				minSeq = max(minSeq, s.MinSeq.Seq())
			}
		}
	}
	return nil
}

// add adds the rows of a scan until the page is full.
func (p *page) add(ctx context.Context, s *scan) error {
	s.bound = &bound{rows: p.left, bytes: maxPage - len(p.rows)}
	if err := p.take(ctx, s); err != nil {
		return err
	}
	if s.bound.taken > 0 {
		p.last = s.bound.last
	}
	p.left, p.more = p.left-s.bound.taken, s.bound.more
	return nil
}

// take takes all rows of a scan.
func (p *page) take(ctx context.Context, s *scan) error {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); s.run(ctx) }()
	defer func() { stop(); <-ended }()
	for first := len(p.rows) > 0; ; first = false {
		rows, err := s.take(ctx, nil)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first {
			p.rows = append(p.rows, ',')
		}
		p.rows = append(p.rows, rows...)
	}
}

// bound ends a scan early.
type bound struct {
	rows, bytes int // that it may have

	taken int
	size  int
	last  []byte
	more  bool
}

// end reports whether a row is beyond the bound; else it counts.
func (b *bound) end(row []byte) bool {
	if b == nil {
		return false
	}
	if b.more = b.taken == b.rows || b.taken > 0 && b.size >= b.bytes || b.bytes <= 0; b.more {
		return true
	}
	b.taken++
	b.size += len(row)
	b.last = append(b.last[:0], row...)
	return false
}
