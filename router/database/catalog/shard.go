package catalog

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"ringway/events"
	"ringway/router/ring"
)

// Shard is one shard of a snapshot.
type Shard struct {
	events.Shard
	Log       events.LogID
	Schema    *events.Schema
	Servers   []string            // of all replicas
	Replicas  map[string]*Replica // those that can be reached, by server
	Responder string
	MinSeq    *MinSeq

	ready  []*Replica
	slots  *ring.Table // of ready, by which reads are spread
	others []*Replica  // may be ready before the route says so
}

// slotsOfShard is the size of a shard's slot table.
const slotsOfShard = 512

// buildShard compiles the route of a shard; before is what is known of one with
// the same log, or nil. The caller holds mu.
func (c *Catalog) buildShard(route *events.TableRoute, i int, before *Shard) (*Shard, error) {
	sr := route.Shards[i]
	s := &Shard{
		Shard: route.Table.Shards[i], Log: route.LogID(sr), Schema: &route.Table.Schema,
		Responder: sr.Responder, Replicas: map[string]*Replica{}, MinSeq: newMinSeq(),
	}
	if before != nil {
		s.MinSeq = before.MinSeq
	}
	var members []ring.Member
	for _, r := range sr.Replicas {
		s.Servers = append(s.Servers, r.Server)
		server, _ := route.Server(r.Server)
		if server.Address == "" {
			continue
		}
		one := c.replica(before, server)
		s.Replicas[r.Server] = one
		if !r.Ready {
			s.others = append(s.others, one)
			continue
		}
		s.ready = append(s.ready, one)
		members = append(members, ring.Member{Name: r.Server, ID: server.ID, Weight: 1})
	}
	var err error
	if s.slots, err = ring.Balanced(slotsOfShard, members, nil); err != nil {
		return nil, fmt.Errorf("shard %s: %w", s.ID, err)
	}
	return s, nil
}

// Choices are the replicas to ask for a read, in order: the ring's choices for
// a random key, those that failed a moment ago after the others, of these the
// one that may be tried again first, and at last those that the route does not
// call ready; they know better.
func (s *Shard) Choices(now time.Time) []*Replica {
	order := make([]*Replica, 0, len(s.ready)+len(s.others))
	var avoided []*Replica
	add := func(r *Replica) {
		if r.avoid.Load() > now.UnixNano() {
			avoided = append(avoided, r)
		} else {
			order = append(order, r)
		}
	}
	if len(s.ready) > 0 {
		var seen ring.Set
		slot := s.slots.Slot(rand.Uint64())
		for owner := s.slots.Owner(slot); owner >= 0; slot, owner = s.slots.Next(slot, &seen) {
			seen.Add(owner)
			add(s.ready[owner])
		}
	}
	slices.SortStableFunc(avoided, func(a, b *Replica) int { return cmp.Compare(a.avoid.Load(), b.avoid.Load()) })
	order = append(order, avoided...)
	return append(order, s.others...)
}

// ResponderFirst are the replicas to ask what became of a batch.
func (s *Shard) ResponderFirst() []*Replica {
	var order []*Replica
	if r := s.Replicas[s.Responder]; r != nil {
		order = append(order, r)
	}
	for _, r := range slices.Concat(s.ready, s.others) {
		if r.Server != s.Responder {
			order = append(order, r)
		}
	}
	return order
}
