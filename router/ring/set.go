package ring

const inSet = 1024 // members that a Set holds without allocating

// Set is a set of member indexes: those that a request has tried or will not
// try. The zero Set is empty. Declare it where it is used: it lives on the
// stack, and only an index of 1,024 or more makes it allocate.
type Set struct {
	len   int
	small [inSet / 64]uint64
	large []uint64
}

// Add puts the member in.
func (s *Set) Add(member int) {
	if s.Has(member) {
		return
	}
	s.len++
	if member < inSet {
		s.small[member/64] |= 1 << (member % 64)
		return
	}
	word := (member - inSet) / 64
	if word >= len(s.large) {
		s.large = append(s.large, make([]uint64, word+1-len(s.large))...)
	}
	s.large[word] |= 1 << (member % 64)
}

// Has reports whether the member is in.
func (s *Set) Has(member int) bool {
	if uint(member) < inSet {
		return s.small[member/64]&(1<<(member%64)) != 0
	}
	word := (member - inSet) / 64
	return word < len(s.large) && s.large[word]&(1<<(member%64)) != 0
}

// Len is the number of members in the set.
func (s *Set) Len() int { return s.len }
