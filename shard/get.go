package shard

import (
	"slices"
	"sync"

	"github.com/valyala/fasthttp"

	"ringway/events"
)

// serveGet answers rows by key of many shards.
func (s *Server) serveGet(ctx *fasthttp.RequestCtx) {
	parts, err := events.DecodeGet(ctx.PostBody())
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
		if more, ok := s.atHand(all, p); ok {
			all, answers[i] = more, more[before:]
			continue
		}
		late = true
		slow.Go(func() { answers[i] = s.part(p) })
	}
	if slow.Wait(); late {
		all = slices.Concat(answers...)
	}
	ctx.Response.SetBodyRaw(all)
}

// atHand appends the answer to a part that needs neither to wait nor the
// engine; false if it does.
func (s *Server) atHand(to []byte, p *events.GetPart) ([]byte, bool) {
	k := s.keeper(p.Table, p.Shard)
	if k == nil {
		return nil, false
	}
	r, err := k.reading(p.Log)
	if err != nil {
		return nil, false
	}
	to, ok := r.rows.write(to, p.Keys, p.Floor)
	if ok {
		s.counts.memory.Add(float64(len(p.Keys)))
	}
	return to, ok
}

// part is the answer to one part.
func (s *Server) part(p *events.GetPart) []byte {
	rows, seq, err := s.lines(p)
	if err != nil {
		return events.AppendShardFault(nil, refusalOf(err))
	}
	return written(rows, seq)
}

// lines are the rows of a part: from memory, and what is missing there from the
// store. If it has moved, or has yet to move them, all come from the store once
// that has come to the floor.
func (s *Server) lines(p *events.GetPart) ([]line, uint64, error) {
	r, err := s.reading(p.Table, p.Shard, p.Log, 0)
	if err != nil {
		return nil, 0, err
	}
	known := r.rows.look(p.Keys)
	if known.seq < p.Floor {
		if err := r.await(s, p.Floor); err != nil {
			return nil, 0, err
		}
		known = r.rows.look(p.Keys)
	}
	s.counts.memory.Add(float64(len(known.rows)))
	if len(known.missing) == 0 {
		return known.rows, known.seq, nil
	}
	found, seq, err := s.many(r, known.missing)
	switch {
	case err != nil:
		return nil, 0, err
	case r.rows.learn(&known, seq, found):
		return known.rows, known.seq, nil
	case len(known.rows) == 0 && seq >= p.Floor:
		return found, seq, nil
	}
	if err := r.await(s, p.Floor); err != nil {
		return nil, 0, err
	}
	return s.many(r, p.Keys)
}

// many asks the engine.
func (s *Server) many(r *replica, keys []int64) (rows []line, seq uint64, err error) {
	release, err := s.turn()
	if err != nil {
		return nil, 0, err
	}
	defer release()
	s.counts.store.Add(float64(len(keys)))
	schema := r.store.Spec().Schema
	seq, err = r.store.Many(s.context(), keys, func(row events.Row) error {
		rows = append(rows, line{row.Key(), append(schema.AppendRow(nil, row), '\n')})
		return nil
	})
	return rows, seq, err
}
