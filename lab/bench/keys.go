package main

import "sync/atomic"

// spreadKeys hands out keys one after the other, to all shards in turn.
type spreadKeys struct {
	d    database
	next atomic.Int64
}

func (s *spreadKeys) take() (int64, bool) {
	n := s.next.Add(1) - 1
	shards := int64(s.d.shards)
	return n%shards*s.d.size + n/shards, n < s.d.keys()
}
