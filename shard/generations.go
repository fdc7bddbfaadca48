package shard

import "sync"

const (
	segments = 16 // locks
	// What the memory of one text takes beside it, about: its place in a map that
	// is between a half and seven eighths full.
	beside = 40
)

// generations keep texts by name, up to a number of bytes: those that were set
// last. Forgetting costs nothing for each text: what was set is young, and when
// the young fill half of the room, they become the old, and what was old is
// gone all at once. A cache that picks what goes one by one was a sixth of what
// a write cost a shard server.
type generations [segments]segment

type segment struct {
	mu         sync.RWMutex
	most       int // bytes of a generation
	young, old generation
}

type generation struct {
	at   map[rowName]span
	text []byte
}

type rowName struct {
	life uint32
	key  int64
}

type span struct{ from, to uint32 }

func newGenerations(bytes int) *generations {
	g := &generations{}
	for i := range g {
		s := &g[i]
		s.most = bytes / (2 * segments)
		s.young.at, s.old.at = map[rowName]span{}, map[rowName]span{}
	}
	return g
}

func (g *generations) segment(name rowName) *segment {
	const golden = 0x9E3779B97F4A7C15 // Fibonacci hashing, Knuth, TAOCP 6.4
	return &g[(uint64(name.key)+uint64(name.life))*golden>>60]
}

// set keeps a copy of text, unless it is too long to be worth what it displaces.
func (g *generations) set(name rowName, text []byte) {
	s := g.segment(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(text) > s.most/8 {
		s.forget(name)
		return
	}
	young := &s.young
	if len(young.text)+len(text)+beside*(len(young.at)+1) > s.most {
		s.young, s.old = s.old, s.young
		clear(young.at)
		young.text = young.text[:0]
	}
	from := len(young.text)
	young.text = append(young.text, text...)
	young.at[name] = span{uint32(from), uint32(len(young.text))}
}

func (g *generations) forget(name rowName) {
	s := g.segment(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(name)
}

func (s *segment) forget(name rowName) {
	delete(s.young.at, name)
	delete(s.old.at, name)
}

// append adds the text of name to a text; false if it is not kept.
func (g *generations) append(to []byte, name rowName) ([]byte, bool) {
	s := g.segment(name)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, kept := range []*generation{&s.young, &s.old} {
		if at, ok := kept.at[name]; ok {
			return append(to, kept.text[at.from:at.to]...), true
		}
	}
	return to, false
}
