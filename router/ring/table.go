// Package ring maps the hash of a key to a member of a service.
//
// A Table never changes after it is built, so any number of goroutines may use
// one without locks. A lookup is one array read whatever the number of members
// and whoever built the table; Slot, Owner and Next do not allocate. Builders
// are pure: the same arguments give the same table on every machine. The
// package imports only the standard library; keep it that way.
package ring

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

const (
	// MaxSize is the most slots a table can have.
	MaxSize = 65536
	// MaxMembers is the most members a table can name.
	MaxMembers = noOwner

	noOwner = 65535 // in slots; events.NoOwner on the wire
)

// Member is one owner of slots.
type Member struct {
	Name   string  // unique in a table; Balanced knows a member again by it
	ID     int     // from 1, unique in a table; only Course looks at it
	Weight float64 // above 0, share = weight ÷ sum of weights; only Balanced looks at it
}

// Table maps each slot to the member that owns it. The zero Table has no slots, and
// everything in it is owned by nobody.
type Table struct {
	slots   []uint16
	size    uint64 // of slots; kept because with it the compiler can inline Slot
	members []Member
	order   []uint16              // balanced only: shuffle(size), for the next table
	draw    func(hash uint64) int // course only: the slot of a key's hash; see drawWith, drawFrom
}

// FromSlots makes a table of what a route carries: the index of the owner for
// each slot, 65535 where there is none. Members that own nothing are allowed.
// Requests is nil, or for course what Requests returns; the table keeps it, so
// the caller must not change it.
func FromSlots(slots []uint16, members []Member, requests []uint16) (*Table, error) {
	if _, err := orderByName(members); err != nil {
		return nil, fmt.Errorf("table from slots: %w", err)
	}
	if len(slots) > MaxSize || len(slots) == 0 && len(members) > 0 {
		return nil, fmt.Errorf("table from slots: %d slots are out of range; use 1 to %d", len(slots), MaxSize)
	}
	for slot, owner := range slots {
		if int(owner) >= len(members) && owner != noOwner {
			return nil, fmt.Errorf("table from slots: slot %d names member %d of %d", slot, owner, len(members))
		}
	}
	if requests != nil && len(requests) != requestIDs {
		return nil, fmt.Errorf("table from slots: slots of %d request ids, want %d", len(requests), requestIDs)
	}
	for i, slot := range requests {
		if int(slot) >= len(slots) {
			return nil, fmt.Errorf("table from slots: request %d has slot %d of %d", i+FirstRequest, slot, len(slots))
		}
	}
	t := newTable(slices.Clone(slots), members)
	if requests != nil {
		t.draw = drawFrom(requests)
	}
	return t, nil
}

func newTable(slots []uint16, members []Member) *Table {
	return &Table{slots: slots, size: uint64(len(slots)), members: slices.Clone(members)}
}

// Slot is the slot of a key with this hash.
func (t *Table) Slot(hash uint64) int {
	if t.draw != nil {
		return t.draw(hash)
	}
	slot, _ := bits.Mul64(hash, t.size)
	return int(slot)
}

// Owner is the index of the member that owns the slot, or -1 if nobody does or
// there is no such slot.
func (t *Table) Owner(slot int) int {
	if uint(slot) >= uint(len(t.slots)) {
		return -1
	}
	if owner := t.slots[slot]; owner != noOwner {
		return int(owner)
	}
	return -1
}

// Next is the next choice: the first slot clockwise after this one, itself
// last, whose owner is not in skip, and that owner; -1, -1 if all are. It reads
// each slot at most once. Skip holds indexes of this table. To go on, add the owner to skip and pass the slot.
func (t *Table) Next(slot int, skip *Set) (next, owner int) {
	if uint(slot) >= uint(len(t.slots)) || skip.len >= len(t.members) {
		return -1, -1
	}
	for s := slot + 1; s < len(t.slots); s++ {
		if o := t.slots[s]; o != noOwner && !skip.Has(int(o)) {
			return s, int(o)
		}
	}
	for s, o := range t.slots[:slot+1] {
		if o != noOwner && !skip.Has(int(o)) {
			return s, int(o)
		}
	}
	return -1, -1
}

// Size is the number of slots.
func (t *Table) Size() int { return len(t.slots) }

// Slots is a copy of the table as a route carries it: see FromSlots.
func (t *Table) Slots() []uint16 { return slices.Clone(t.slots) }

// Members is a copy of the members; owners are indexes of it.
func (t *Table) Members() []Member { return slices.Clone(t.members) }

// Shares is the number of slots of each member.
func (t *Table) Shares() []int {
	shares := make([]int, len(t.members))
	for _, owner := range t.slots {
		if owner != noOwner {
			shares[owner]++
		}
	}
	return shares
}

func checkSize(size int) error {
	if size < 1 || size > MaxSize {
		return fmt.Errorf("%d slots are out of range; use 1 to %d", size, MaxSize)
	}
	return nil
}

// orderByName is the members' indexes by name. It refuses names that repeat.
func orderByName(members []Member) ([]int, error) {
	if len(members) > MaxMembers {
		return nil, fmt.Errorf("%d members are too many; a table names at most %d", len(members), MaxMembers)
	}
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(members[a].Name, members[b].Name) })
	for i := range max(0, len(order)-1) {
		if name := members[order[i]].Name; name == members[order[i+1]].Name {
			return nil, fmt.Errorf("member %q is named twice", name)
		}
	}
	return order, nil
}
