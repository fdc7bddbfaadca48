package shard

import (
	"slices"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/events/rowjson"
	"ringway/events/shardapi"
	"ringway/shard/replica"
	"ringway/shard/rowcache"
)

// serveGet answers rows by key of many shards.
func (s *Server) serveGet(ctx *fasthttp.RequestCtx) {
	parts, err := shardapi.DecodeGet(ctx.PostBody())
	if err != nil {
		refuse(ctx, err)
		return
	}
	answers := make([][]byte, len(parts))
	all := make([]byte, 0, 4096)
	var slow sync.WaitGroup
	late := false
	for i := range parts {
		p := &parts[i]
		slices.Sort(p.Keys)
		p.Keys = slices.Compact(p.Keys)
		before := len(all)
		if more, ok := s.fromCache(all, p); ok {
			all, answers[i] = more, more[before:]
			continue
		}
		late = true
		slow.Go(func() { answers[i] = s.answerPart(p) })
	}
	if slow.Wait(); late {
		all = slices.Concat(answers...)
	}
	ctx.Response.SetBodyRaw(all)
}

// fromCache appends the answer to a part that needs neither to wait nor the
// engine; false if it does.
func (s *Server) fromCache(to []byte, p *shardapi.GetPart) ([]byte, bool) {
	m := s.manager(p.Table, p.Shard)
	if m == nil {
		return nil, false
	}
	r, err := m.Readable(p.Log)
	if err != nil || r.Applied().Seq < p.MinSeq {
		return nil, false
	}
	to, ok := r.Rows.Append(to, p.Keys)
	if ok {
		s.counts.memory.Add(float64(len(p.Keys)))
	}
	return to, ok
}

// answerPart is the answer to one part.
func (s *Server) answerPart(p *shardapi.GetPart) []byte {
	r, err := s.readable(p.Table, p.Shard, p.Log, p.MinSeq)
	if err != nil {
		return shardapi.AppendFault(nil, statusOf(err))
	}
	known := r.Rows.Lookup(p.Keys)
	s.counts.memory.Add(float64(len(known.Rows)))
	if len(known.Missing) == 0 {
		return rowcache.Answer(known.Rows, known.Seq)
	}
	found, seq, err := s.fromStore(r, known.Missing)
	switch {
	case err != nil:
	case r.Rows.Fill(&known, seq, found):
		return rowcache.Answer(known.Rows, seq)
	case len(known.Rows) == 0:
		return rowcache.Answer(found, seq)
	default: // some are of another seq than the others
		found, seq, err = s.fromStore(r, p.Keys)
	}
	if err != nil {
		return shardapi.AppendFault(nil, statusOf(err))
	}
	return rowcache.Answer(found, seq)
}

// fromStore reads rows from the engine.
func (s *Server) fromStore(r *replica.Running, keys []int64) (rows []rowcache.Line, seq uint64, err error) {
	release, err := s.acquire(s.reads, "reads")
	if err != nil {
		return nil, 0, err
	}
	defer release()
	s.counts.store.Add(float64(len(keys)))
	schema, before := r.Store.Spec().Schema, r.Applied()
	seq, err = r.Store.Many(s.ctx, keys, func(row rowjson.Row) error {
		rows = append(rows, rowcache.Line{Key: row.Key(), Text: append(schema.AppendRow(nil, row), '\n')})
		return nil
	})
	if err == nil {
		err = r.RefuseRolledBack(before, seq)
	}
	return rows, seq, err
}
