package database

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringway/events"
	"ringway/router/ring"
)

// tables is one immutable snapshot of all tables.
type tables struct {
	all     map[string]*table
	unnamed *table // of a call that names none; nil: it has to
}

// table is the compiled route of one table.
type table struct {
	route  events.TableRoute
	epoch  events.Epoch
	value  json.RawMessage // the route as it came
	shards []*shard        // in the order of keys, as in route.Table.Shards
	status []byte          // the answer to /status

	readKeys, readRange prometheus.Observer           // seconds that reads took
	done                map[string]prometheus.Counter // ops, by kind
}

// shard is one shard of a snapshot.
type shard struct {
	events.Shard
	log       events.LogID
	schema    *events.Schema
	table     *ring.Table // of the ready replicas, by which reads are spread
	named     []string    // the servers of all replicas
	ready     []*replica  // in the order that table refers to
	others    []*replica  // may be ready before the route says so
	responder string
	minSeq    *minSeq
	head      []byte              // begins the answer to a read of this shard alone
	replicas  map[string]*replica // by server
}

// replica is one copy of a shard as this router knows it. It outlives changes
// of the route for as long as the log, the server and its address stay.
type replica struct {
	server string
	peer   *peer
	seen   atomic.Uint64 // the largest seq that it is known to have applied
	avoid  atomic.Int64  // until when it is no first choice, unix ns
	faults atomic.Int32  // in a row
}

// slotsOfShard is the size of a shard's slot table.
const slotsOfShard = 512

// build compiles a route; what old knows of replicas and minimum seqs stays.
func (d *Database) build(route events.TableRoute, epoch events.Epoch, value []byte, old *table) (*table, error) {
	t := &table{route: route, epoch: epoch, value: slices.Clone(value), status: statusBody(&route)}
	t.readKeys, t.readRange = d.metrics.reads.WithLabelValues(t.name(), "keys"), d.metrics.reads.WithLabelValues(t.name(), "range")
	t.done = map[string]prometheus.Counter{}
	for _, kind := range []string{events.OpInsert, events.OpUpdate, events.OpDelete} {
		t.done[kind] = d.metrics.ops.WithLabelValues(t.name(), kind, string(events.Done))
	}
	for i, sr := range route.Shards {
		s := &shard{
			Shard: route.Table.Shards[i], log: route.LogID(sr), schema: &t.route.Table.Schema,
			responder: sr.Responder, replicas: map[string]*replica{},
		}
		s.head = readHead([]string{s.ID})
		before := old.before(s)
		if before != nil {
			s.minSeq = before.minSeq
		} else {
			s.minSeq = newMinSeq()
		}
		var members []ring.Member
		for _, r := range sr.Replicas {
			s.named = append(s.named, r.Server)
			server, _ := route.Server(r.Server)
			if server.Address == "" {
				continue
			}
			one := d.replica(before, server)
			s.replicas[r.Server] = one
			if !r.Ready {
				s.others = append(s.others, one)
				continue
			}
			s.ready = append(s.ready, one)
			members = append(members, ring.Member{Name: r.Server, ID: server.ID, Weight: 1})
		}
		var err error
		if s.table, err = ring.Balanced(slotsOfShard, members, nil); err != nil {
			return nil, fmt.Errorf("shard %s: %w", s.ID, err)
		}
		t.shards = append(t.shards, s)
	}
	return t, nil
}

// before is what t, which may be nil, has of a shard with the same log.
func (t *table) before(s *shard) *shard {
	if t == nil {
		return nil
	}
	if was := t.shard(s.ID); was != nil && was.log == s.log {
		return was
	}
	return nil
}

// replica finds what is known of a replica. The caller holds swap.
func (d *Database) replica(before *shard, server events.TableServer) *replica {
	if before != nil {
		if r := before.replicas[server.Name]; r != nil && r.peer.address == server.Address {
			return r
		}
	}
	p := d.peers[server.Address]
	if p == nil {
		p = newPeer(server.Address, &d.cfg)
		d.peers[server.Address] = p
	}
	return &replica{server: server.Name, peer: p}
}

func (t *table) name() string { return t.route.Table.Name }

func (t *table) shard(id string) *shard {
	if i := slices.IndexFunc(t.shards, func(s *shard) bool { return s.ID == id }); i >= 0 {
		return t.shards[i]
	}
	return nil
}

// find is the shard that holds key; nil if none does.
func (t *table) find(key int64) *shard {
	i, found := slices.BinarySearchFunc(t.shards, key, func(s *shard, key int64) int {
		switch {
		case s.Holds(key):
			return 0
		case s.Low > key:
			return 1
		}
		return -1
	})
	if !found {
		return nil
	}
	return t.shards[i]
}

// between lists the shards that hold a key from low to high, in key order.
func (t *table) between(low, high int64) []*shard {
	var found []*shard
	for _, s := range t.shards {
		if s.Low <= high && s.High() >= low {
			found = append(found, s)
		}
	}
	return found
}

// choices are the replicas to ask for a read, in order: the ring's choices for
// a random key, those that failed a moment ago after the others, of these the
// one that may be tried again first, and at last those that the route does not
// call ready; they know better.
func (s *shard) choices(now time.Time) []*replica {
	order := make([]*replica, 0, len(s.ready)+len(s.others))
	var avoided []*replica
	add := func(r *replica) {
		if r.avoid.Load() > now.UnixNano() {
			avoided = append(avoided, r)
		} else {
			order = append(order, r)
		}
	}
	if len(s.ready) > 0 {
		var seen ring.Set
		slot := s.table.Slot(rand.Uint64())
		for owner := s.table.Owner(slot); owner >= 0; slot, owner = s.table.Next(slot, &seen) {
			seen.Add(owner)
			add(s.ready[owner])
		}
	}
	slices.SortStableFunc(avoided, func(a, b *replica) int { return cmp.Compare(a.avoid.Load(), b.avoid.Load()) })
	order = append(order, avoided...)
	return append(order, s.others...)
}

// answering are the replicas to ask what became of a batch: the responder first.
func (s *shard) answering() []*replica {
	var order []*replica
	if r := s.replicas[s.responder]; r != nil {
		order = append(order, r)
	}
	for _, r := range slices.Concat(s.ready, s.others) {
		if r.server != s.responder {
			order = append(order, r)
		}
	}
	return order
}

// answered notes that the replica has applied seq.
func (r *replica) answered(seq uint64) {
	raise(&r.seen, seq)
	r.faults.Store(0)
}

// failed makes the replica a late choice for d, or longer the more often in a
// row it failed: each try of one that hangs costs somebody time. Questions that
// were on their way together fail together, and count as one.
func (r *replica) failed(d time.Duration, now time.Time) {
	until := r.avoid.Load()
	if until > now.UnixNano() {
		return
	}
	if r.avoid.CompareAndSwap(until, now.Add(d<<min(r.faults.Load(), 4)).UnixNano()) {
		r.faults.Add(1)
	}
}

// raise makes a at least v.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v; old = a.Load() {
		if a.CompareAndSwap(old, v) {
			return
		}
	}
}

var errNoTable = events.StatusErrorf(400, "no database is configured; POST /init first")

// named finds the table of a call, which may name none. Its error is a refusal.
func (ts *tables) named(name string) (*table, error) {
	t := ts.all[name]
	if name == "" {
		t = ts.unnamed
	}
	switch {
	case t != nil:
		return t, nil
	case len(ts.all) == 0:
		return nil, errNoTable
	case name == "":
		return nil, events.StatusErrorf(400, "table is missing; name one of %s", ts.names())
	}
	return nil, events.StatusErrorf(404, "table %q does not exist; there is %s", name, ts.names())
}

func (ts *tables) names() string { return strings.Join(slices.Sorted(maps.Keys(ts.all)), ", ") }

// compile reads a route that came under the name of a table. The caller holds swap.
func (d *Database) compile(name string, epoch events.Epoch, value []byte) (*table, error) {
	route, err := events.DecodeTableRoute(value)
	if err != nil {
		return nil, err
	}
	if route.Table.Name != name {
		return nil, errors.New("the key is of table " + name + ", the value of " + route.Table.Name)
	}
	return d.build(route, epoch, value, d.tables.Load().all[name])
}

// replace publishes a snapshot in which t serves name; nil: nobody does. The
// caller holds swap.
func (d *Database) replace(name string, t *table) {
	next := &tables{all: maps.Clone(d.tables.Load().all)}
	if next.all == nil {
		next.all = map[string]*table{}
	}
	delete(next.all, name)
	if t != nil {
		next.all[name] = t
	}
	used := map[*peer]bool{}
	for name, one := range next.all {
		// Of several others none is: a table that is new beside them must not
		// turn calls to itself.
		if name == events.DefaultTable || len(next.all) == 1 {
			next.unnamed = one
		}
		for _, s := range one.shards {
			for _, r := range s.replicas {
				used[r.peer] = true
			}
		}
	}
	d.tables.Store(next)
	for address, p := range d.peers {
		if !used[p] {
			p.retire()
			delete(d.peers, address)
		}
	}
	close(d.news)
	d.news = make(chan struct{})
	notify(d.learn)
}
