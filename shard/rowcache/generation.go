package rowcache

import (
	"encoding/binary"
	"hash/maphash"
)

// generation is a log of texts by name. Writing appends to it, and nothing
// else: most of what is written is never read. An index of it is made, and made
// longer, when somebody reads. Both have one size, so that what a generation
// takes does not depend on what is in it.
type generation struct {
	log     []byte // records: name, length of the text or gone, text
	records int
	slots   []uint32 // hash table, linear probing: one more than where the newest record of a name begins; nil until somebody reads
	indexed int      // bytes of log whose records are in it
}

// rowName is the name of a text: a life, and a key in it.
type rowName [12]byte

const (
	header = len(rowName{}) + 4
	gone   = ^uint32(0) // in place of a length: the text is not known
)

func nameOf(life uint32, key int64) (name rowName) {
	binary.LittleEndian.PutUint64(name[:], uint64(key))
	binary.LittleEndian.PutUint32(name[8:], life)
	return name
}

func (g *generation) add(name rowName, length uint32, text []byte) {
	g.log = append(g.log, name[:]...)
	g.log = binary.LittleEndian.AppendUint32(g.log, length)
	g.log = append(g.log, text...)
	g.records++
}

func (g *generation) empty() {
	if g.indexed > 0 {
		clear(g.slots)
	}
	g.log, g.records, g.indexed = g.log[:0], 0, 0
}

// index takes in the records that were added since. The table of slots, a power
// of two, must have more slots than there are records.
func (g *generation) index(seed maphash.Seed, slots int) {
	if g.indexed == len(g.log) {
		return
	}
	if g.slots == nil {
		g.slots = make([]uint32, slots)
	}
	for at := g.indexed; at < len(g.log); {
		name := rowName(g.log[at:])
		g.slots[g.slot(seed, name)] = uint32(at) + 1
		at += header
		if length := binary.LittleEndian.Uint32(g.log[at-4:]); length != gone {
			at += int(length)
		}
	}
	g.indexed = len(g.log)
}

// find is the newest text of name, or that it is gone. All must be indexed.
func (g *generation) find(seed maphash.Seed, name rowName) (text []byte, isGone, ok bool) {
	if g.records == 0 {
		return nil, false, false
	}
	at := int(g.slots[g.slot(seed, name)])
	if at == 0 {
		return nil, false, false
	}
	at += header - 1
	length := binary.LittleEndian.Uint32(g.log[at-4:])
	if length == gone {
		return nil, true, true
	}
	return g.log[at:][:length], false, true
}

// slot is where name is, or where it belongs.
func (g *generation) slot(seed maphash.Seed, name rowName) int {
	last := len(g.slots) - 1
	i := int(maphash.Bytes(seed, name[:])) & last
	for at := g.slots[i]; at != 0 && rowName(g.log[at-1:]) != name; at = g.slots[i] {
		i = (i + 1) & last
	}
	return i
}
