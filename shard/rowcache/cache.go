// Package rowcache holds rows of a shard server's replicas in memory, as clients
// read them.
//
// The applier of a replica writes to it after each transaction, so what it has of
// a replica is what the store holds at the seq that it gives. Memory is bounded
// by the bytes that New is given, whatever the rows are.
package rowcache

import (
	"cmp"
	"slices"
	"sync"

	"ringway/events"
	"ringway/events/shardapi"
	"ringway/events/shardlog"
)

// Cache holds rows of all replicas of a server as clients read them, those
// that were written or read last. Rows of a replica that has ended, or has begun
// anew, are not found any more, and go when the others need their place.
type Cache struct {
	mu    sync.RWMutex
	rows  *generations
	lives uint32 // that have begun
}

// New holds rows of so many bytes.
func New(bytes int) *Cache { return &Cache{rows: newGenerations(bytes)} }

// rLock locks for reading.
func (c *Cache) rLock() {
	for {
		// Fast path
		c.mu.RLock()
		if c.rows.indexed() {
			return
		}
		// Slow path: something was written since somebody read.
		c.mu.RUnlock()
		c.mu.Lock()
		c.rows.index()
		c.mu.Unlock()
	}
}

// Rows is what a cache has of one replica: exactly what the store holds
// at one seq. That can be known, because only the applier writes the store.
// There is one lock for all replicas, held once for a transaction or a request.
type Rows struct {
	cache  *Cache
	schema events.Schema
	life   uint32 // begins the names of what is cached; 0: nothing is
	seq    uint64
}

// Of is the part of one replica, whose rows are of a schema. It is empty until Begin.
func (c *Cache) Of(schema events.Schema) *Rows { return &Rows{cache: c, schema: schema} }

// Begin empties it: the store is at a position, however it came there.
func (c *Rows) Begin(at events.Position) {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	c.cache.lives++
	c.life, c.seq = c.cache.lives, at.Seq
}

// Applied takes what the store has applied since. Rows of an op that may not have
// changed them, because it was a repetition, are dropped.
func (c *Rows) Applied(entries []shardlog.Entry, done []shardlog.Results) {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	text := make([]byte, 0, 512)
	for i := range entries {
		e := &entries[i]
		all := len(done[i].Notable) == 0
		for j := range e.Batch.Ops {
			op := &e.Batch.Ops[j]
			sure := done[i].Seq == e.Seq && op.Idempotency == nil && (all || done[i].Op(j).Outcome == shardlog.Done)
			for _, row := range op.Rows {
				if sure {
					text = append(c.schema.AppendRow(text[:0], row), '\n')
					c.cache.rows.set(c.name(row.Key()), text)
				} else {
					c.cache.rows.forget(c.name(row.Key()))
				}
			}
			if op.Key != nil {
				c.cache.rows.forget(c.name(*op.Key))
			}
		}
		c.seq = e.Seq
	}
}

func (c *Rows) name(key int64) rowName { return nameOf(c.life, key) }

// Found are the rows that are kept of some keys, and those keys whose rows are
// not; all of it at one seq of one life.
type Found struct {
	life    uint32
	Seq     uint64
	Rows    []Line
	Missing []int64
}

// Line is a row as clients read it, with its end of line; an empty text says
// that there is none.
type Line struct {
	Key  int64
	Text []byte
}

// Lookup finds the rows of keys.
func (c *Rows) Lookup(keys []int64) Found {
	c.cache.rLock()
	defer c.cache.mu.RUnlock()
	k := Found{life: c.life, Seq: c.seq, Rows: make([]Line, 0, len(keys))}
	texts := make([]byte, 0, 128*len(keys))
	for _, key := range keys {
		from, kept := len(texts), false
		if c.life != 0 {
			texts, kept = c.cache.rows.append(texts, c.name(key))
		}
		if !kept {
			k.Missing = append(k.Missing, key)
			continue
		}
		k.Rows = append(k.Rows, Line{key, texts[from:len(texts):len(texts)]})
	}
	return k
}

// Append appends the rows of keys and their end; false if not all are kept.
func (c *Rows) Append(to []byte, keys []int64) ([]byte, bool) {
	c.cache.rLock()
	defer c.cache.mu.RUnlock()
	if c.life == 0 {
		return nil, false
	}
	n := 0
	for _, key := range keys {
		before := len(to)
		var kept bool
		if to, kept = c.cache.rows.append(to, c.name(key)); !kept {
			return nil, false
		}
		n += min(len(to)-before, 1)
	}
	return shardapi.AppendEnd(to, c.seq, n), true
}

// Fill takes what the store has of the keys that were missing, unless the
// replica has moved since, and reports whether it has not.
func (c *Rows) Fill(k *Found, seq uint64, found []Line) bool {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if c.life == 0 || k.life != c.life || k.Seq != c.seq || k.Seq != seq {
		return false
	}
	for _, key := range k.Missing {
		one := Line{Key: key}
		if i, ok := slices.BinarySearchFunc(found, key, Line.compare); ok {
			one = found[i]
		}
		c.cache.rows.set(c.name(key), one.Text) // an empty text says that there is none
		k.Rows = append(k.Rows, one)
	}
	slices.SortFunc(k.Rows, func(a, b Line) int { return a.compare(b.Key) })
	k.Missing = nil
	return true
}

func (l Line) compare(key int64) int { return cmp.Compare(l.Key, key) }

// Answer is rows and their end.
func Answer(rows []Line, seq uint64) []byte {
	body, n := make([]byte, 0, 128*len(rows)+32), 0
	for _, l := range rows {
		body = append(body, l.Text...)
		n += min(len(l.Text), 1)
	}
	return shardapi.AppendEnd(body, seq, n)
}
