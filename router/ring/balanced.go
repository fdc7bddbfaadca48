package ring

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Balanced builds a table in which every member owns its weighted share of the
// slots, rounded down or up to a whole one. Of prev, which may be nil, it moves
// only the slots that must move: it keeps min(owned, share) slots of every
// member, and rounds up first for those that then keep one slot more. A prev of
// another size is read as the same division of the hashes.
//
// What moves is chosen by a fixed shuffle of the slots that looks at no owner,
// so that after any history the neighbours of a member's slots are a fair
// sample of the others: what a dead member leaves spills over all of them.
// A prev that Course built is ignored, for its slots come in runs.
func Balanced(size int, members []Member, prev *Table) (*Table, error) {
	if err := checkSize(size); err != nil {
		return nil, fmt.Errorf("balanced table: %w", err)
	}
	byName, err := orderByName(members)
	if err != nil {
		return nil, fmt.Errorf("balanced table: %w", err)
	}
	for _, m := range members {
		if !(m.Weight > 0) || math.IsInf(m.Weight, 1) {
			return nil, fmt.Errorf("balanced table: member %q has weight %v; use a number above 0", m.Name, m.Weight)
		}
	}
	b := balancer{members: members, byName: byName}
	b.inherit(size, prev)
	if len(members) > 0 {
		b.count()
		b.setShares()
		b.move()
	}
	t := newTable(b.slots, members)
	t.order = b.order
	return t, nil
}

// balancer is one call of Balanced. Slices are by member index unless said.
type balancer struct {
	members []Member
	byName  []int // member indexes: nothing may depend on the order of the arguments
	slots   []uint16
	order   []uint16 // slots, shuffled
	owned   []int
	share   []int
}

// inherit takes from prev the slots whose owners are still there.
func (b *balancer) inherit(size int, prev *Table) {
	b.slots = make([]uint16, size)
	for s := range b.slots {
		b.slots[s] = noOwner
	}
	if prev != nil && len(prev.order) == size {
		b.order = prev.order
	} else {
		b.order = shuffle(size)
	}
	if prev == nil || len(prev.slots) == 0 || prev.draw != nil {
		return
	}
	owners := make([]uint16, len(prev.members)) // by owner in prev
	for i, m := range prev.members {
		owners[i] = b.find(m.Name, i)
	}
	for s := range b.slots {
		if owner := prev.slots[s*len(prev.slots)/size]; owner != noOwner {
			b.slots[s] = owners[owner]
		}
	}
}

// find is the index of a member, which is often where it was.
func (b *balancer) find(name string, was int) uint16 {
	if was < len(b.members) && b.members[was].Name == name {
		return uint16(was)
	}
	at, here := slices.BinarySearchFunc(b.byName, name, func(i int, name string) int {
		return strings.Compare(b.members[i].Name, name)
	})
	if !here {
		return noOwner
	}
	return uint16(b.byName[at])
}

func (b *balancer) count() {
	b.owned = make([]int, len(b.members))
	for _, owner := range b.slots {
		if owner != noOwner {
			b.owned[owner]++
		}
	}
}

// setShares rounds exact shares: all down, then up where a slot can stay that
// way, then up by largest remainder, until every slot has an owner.
func (b *balancer) setShares() {
	heaviest := 0.0
	for _, m := range b.members {
		heaviest = max(heaviest, m.Weight)
	}
	const rounding = 1e-9 // far above the errors of the arithmetic, far below a slot
	sum := 0.0            // in units of the heaviest, which no weights can overflow
	for _, i := range b.byName {
		sum += b.members[i].Weight / heaviest
	}
	b.share = make([]int, len(b.members))
	remainder := make([]float64, len(b.members))
	rounded := make([]int, 0, len(b.members))
	left := len(b.slots)
	for _, i := range b.byName {
		exact := b.members[i].Weight / heaviest / sum * float64(len(b.slots))
		b.share[i] = int(exact + rounding)
		remainder[i] = exact - float64(b.share[i])
		left -= b.share[i]
		if remainder[i] > rounding {
			rounded = append(rounded, i)
		}
	}
	keeps := func(i int) int { // 0 sorts first
		if b.owned[i] > b.share[i] {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(rounded, func(x, y int) int {
		return cmp.Or(cmp.Compare(keeps(x), keeps(y)), cmp.Compare(remainder[y], remainder[x]))
	})
	// Remainders are below 1 and sum to left, so more members than left have one.
	for _, i := range rounded[:left] {
		b.share[i]++
	}
}

// kept is the number of slots that stay where they are.
func (b *balancer) kept() int {
	n := 0
	for i, owned := range b.owned {
		n += min(owned, b.share[i])
	}
	return n
}

// move frees what members own beyond their share and gives what is free to
// those below theirs.
func (b *balancer) move() {
	free := make([]uint16, 0, len(b.slots)-b.kept())
	for _, s := range b.order {
		owner := b.slots[s]
		switch {
		case owner == noOwner:
			free = append(free, s)
		case b.owned[owner] > b.share[owner]:
			b.owned[owner]--
			free = append(free, s)
		}
	}
	for _, i := range b.byName {
		take := b.share[i] - b.owned[i]
		for _, s := range free[:take] {
			b.slots[s] = uint16(i)
		}
		free = free[take:]
	}
}

// shuffle is a fixed random order of the slots: Fisher and Yates with
// splitmix64, written out because it must never change between releases.
func shuffle(size int) []uint16 {
	order := make([]uint16, size)
	state := uint64(size)
	for i := range order {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		j, _ := bits.Mul64(z^z>>31, uint64(i+1))
		order[i] = order[j]
		order[j] = uint16(i)
	}
	return order
}
