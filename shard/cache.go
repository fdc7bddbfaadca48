package shard

import (
	"cmp"
	"slices"
	"sync"

	"ringway/events"
)

// cache holds rows of all replicas of a server as clients read them, those
// that were written or read last. Rows of a replica that has ended, or has begun
// anew, are not found any more, and go when the others need their place.
type cache struct {
	mu    sync.RWMutex
	rows  *generations
	lives uint32 // that have begun
}

func newCache(bytes int) *cache { return &cache{rows: newGenerations(bytes)} }

// rLock locks for who reads rows.
func (c *cache) rLock() {
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

// cachedRows is what a cache has of one replica: exactly what the store holds
// at one seq. That can be known, because nobody but the applier writes the
// store. The lock is the cache's: there is one for all replicas, which is held
// once for a transaction or a question.
type cachedRows struct {
	cache  *cache
	schema events.Schema
	life   uint32 // begins the names of what is cached; 0: nothing is
	seq    uint64
}

var _ rowCache = (*cachedRows)(nil)

// Begin implements rowCache.
func (c *cachedRows) Begin(at events.Position) {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	c.cache.lives++
	c.life, c.seq = c.cache.lives, at.Seq
}

// Applied implements rowCache. An op that may not have changed what it names,
// because it was a repetition, only makes forget.
func (c *cachedRows) Applied(entries []events.LogEntry, done []events.Results) {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	text := make([]byte, 0, 512)
	for i := range entries {
		e := &entries[i]
		all := len(done[i].Notable) == 0
		for j := range e.Batch.Ops {
			op := &e.Batch.Ops[j]
			sure := done[i].Seq == e.Seq && op.Idempotency == nil && (all || done[i].Op(j).Outcome == events.Done)
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

func (c *cachedRows) name(key int64) rowName { return nameOf(c.life, key) }

// known are the rows that are kept of some keys, and those keys whose rows are
// not; all of it at one seq of one life.
type known struct {
	life    uint32
	seq     uint64
	rows    []line
	missing []int64
}

// line is a row as clients read it, with its end of line; an empty text says
// that there is none.
type line struct {
	key  int64
	text []byte
}

// look finds the rows of keys.
func (c *cachedRows) look(keys []int64) known {
	c.cache.rLock()
	defer c.cache.mu.RUnlock()
	k := known{life: c.life, seq: c.seq, rows: make([]line, 0, len(keys))}
	texts := make([]byte, 0, 128*len(keys))
	for _, key := range keys {
		from, kept := len(texts), false
		if c.life != 0 {
			texts, kept = c.cache.rows.append(texts, c.name(key))
		}
		if !kept {
			k.missing = append(k.missing, key)
			continue
		}
		k.rows = append(k.rows, line{key, texts[from:len(texts):len(texts)]})
	}
	return k
}

// write appends the rows of keys and their end; false if not all are kept.
func (c *cachedRows) write(to []byte, keys []int64) ([]byte, bool) {
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
	return events.AppendShardEnd(to, c.seq, n), true
}

// learn takes what the store has of the keys that were missing, unless the
// replica has moved since, and reports whether it has not.
func (c *cachedRows) learn(k *known, seq uint64, found []line) bool {
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if c.life == 0 || k.life != c.life || k.seq != c.seq || k.seq != seq {
		return false
	}
	for _, key := range k.missing {
		one := line{key: key}
		if i, ok := slices.BinarySearchFunc(found, key, line.compare); ok {
			one = found[i]
		}
		c.cache.rows.set(c.name(key), one.text) // an empty text says that there is none
		k.rows = append(k.rows, one)
	}
	slices.SortFunc(k.rows, func(a, b line) int { return a.compare(b.key) })
	k.missing = nil
	return true
}

func (l line) compare(key int64) int { return cmp.Compare(l.key, key) }

// written is rows and their end.
func answerOf(rows []line, seq uint64) []byte {
	body, n := make([]byte, 0, 128*len(rows)+32), 0
	for _, l := range rows {
		body = append(body, l.text...)
		n += min(len(l.text), 1)
	}
	return events.AppendShardEnd(body, seq, n)
}
