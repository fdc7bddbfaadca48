package rowcache

import (
	"hash/maphash"
	"math/bits"
)

// generations keep texts by name, in a number of bytes: those that were set
// last. Eviction costs nothing for each text: what is set is young, and when the
// young fill half of the bytes, they become the old, and what was old is dropped all
// at once. A cache that evicts one by one was a sixth of the cost of a write to a
// shard server.
//
// Writing and indexing are for one goroutine at a time, and append for any number
// of them while nothing is written.
type generations struct {
	seed       maphash.Seed // clients choose keys, and must not know which of them collide
	log        int          // bytes of a generation's log
	slots      int          // of its index
	young, old generation
}

func newGenerations(size int) *generations {
	half := size / 2
	// A sixteenth to an eighth, which rows of 64 to 40 bytes fill with the log.
	slots := 1 << (bits.Len(uint(half/8/4)) - 1)
	return &generations{seed: maphash.MakeSeed(), log: half - 4*slots, slots: slots}
}

// set keeps a copy of text, unless it is too long to be worth what it displaces.
func (g *generations) set(name rowName, text []byte) {
	if len(text) > g.log/128 {
		g.forget(name)
		return
	}
	g.add(name, uint32(len(text)), text)
}

// forget hides what is kept of name, in both generations.
func (g *generations) forget(name rowName) { g.add(name, gone, nil) }

func (g *generations) add(name rowName, length uint32, text []byte) {
	y := &g.young
	if len(y.log)+header+len(text) > g.log || y.records == g.slots/4*3 {
		g.young, g.old = g.old, g.young
		y.empty()
	}
	if y.log == nil {
		y.log = make([]byte, 0, g.log)
	}
	y.add(name, length, text)
}

// indexed reports whether all is; the old are whenever the young are, which
// begin with something that is not.
func (g *generations) indexed() bool { return g.young.indexed == len(g.young.log) }

func (g *generations) index() {
	g.young.index(g.seed, g.slots)
	g.old.index(g.seed, g.slots)
}

// append adds the text of name to a text; false if it is not kept. All must be
// indexed.
func (g *generations) append(to []byte, name rowName) ([]byte, bool) {
	text, isGone, ok := g.young.find(g.seed, name)
	if !ok {
		text, isGone, ok = g.old.find(g.seed, name)
	}
	return append(to, text...), ok && !isGone
}
