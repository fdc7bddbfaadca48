package ring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// The request ids of the assignment: six-digit numbers.
const (
	FirstRequest = 100000
	LastRequest  = 999999
	requestIDs   = LastRequest - FirstRequest + 1
)

// Functions are the two hash functions of the algorithm course; what they return
// is taken modulo the number of slots. H is over request ids, 100000 to 999999;
// Phi over member ids from 1 and virtual members from 0.
type Functions struct {
	H   func(i uint64) uint64
	Phi func(i, j uint64) uint64
}

// Official are the functions of the assignment.
func Official() Functions {
	return Functions{
		H:   func(i uint64) uint64 { return i*i + 2*i + 17 },
		Phi: func(i, j uint64) uint64 { return i*i + j*j + 2*j + 25 },
	}
}

// Course builds the table of the assignment: each member, in the order of ids,
// takes k slots at Phi, each moved clockwise past occupied ones. A slot in
// between belongs to the nearest occupied one clockwise. Weights mean nothing.
func Course(size, k int, members []Member, fn Functions) (*Table, error) {
	if err := checkCourse(size, k, members, fn); err != nil {
		return nil, fmt.Errorf("course table: %w", err)
	}
	byID := make([]int, len(members))
	for i := range byID {
		byID[i] = i
	}
	slices.SortFunc(byID, func(a, b int) int { return cmp.Compare(members[a].ID, members[b].ID) })

	slots := make([]uint16, size)
	for s := range slots {
		slots[s] = noOwner
	}
	for _, i := range byID {
		for j := range k {
			s := int(fn.Phi(uint64(members[i].ID), uint64(j)) % uint64(size))
			for slots[s] != noOwner { // ends: checkCourse left room for all
				s = (s + 1) % size
			}
			slots[s] = uint16(i)
		}
	}
	fillBackwards(slots)
	t := newTable(slots, members)
	t.draw = drawWith(fn.H, size)
	return t, nil
}

// fillBackwards gives each free slot to the nearest owner clockwise. The second
// lap carries the first owner over the end of the table.
func fillBackwards(slots []uint16) {
	owner := uint16(noOwner)
	for range 2 {
		for s, o := range slices.Backward(slots) {
			if o != noOwner {
				owner = o
			}
			slots[s] = owner
		}
	}
}

// Requests is the slot of every request id from 100000 to 999999, so that a
// router need not calculate h for each request.
func Requests(size int, h func(uint64) uint64) []uint16 {
	slots := make([]uint16, requestIDs)
	for i := range slots {
		slots[i] = uint16(h(uint64(i)+FirstRequest) % uint64(size))
	}
	return slots
}

// drawWith turns the hash of a key into a request id and that, by h, into a slot.
func drawWith(h func(uint64) uint64, size int) func(uint64) int {
	return func(hash uint64) int { return int(h(hash%requestIDs+FirstRequest) % uint64(size)) }
}

// drawFrom does the same from what Requests returned.
func drawFrom(requests []uint16) func(uint64) int {
	return func(hash uint64) int { return int(requests[hash%requestIDs]) }
}

func checkCourse(size, k int, members []Member, fn Functions) error {
	if fn.H == nil || fn.Phi == nil {
		return errors.New("a hash function is missing")
	}
	if err := checkSize(size); err != nil {
		return err
	}
	if k < 1 || k > size {
		return fmt.Errorf("%d virtual members are out of range; use 1 to the %d slots", k, size)
	}
	if fit := size / k; len(members) > fit {
		return fmt.Errorf("%d members do not fit; %d slots have room for %d with %d slots each", len(members), size, fit, k)
	}
	if _, err := orderByName(members); err != nil {
		return err
	}
	seen := make(map[int]string, len(members))
	for _, m := range members {
		if m.ID < 1 || m.ID > size {
			return fmt.Errorf("member %q has id %d; use 1 to %d", m.Name, m.ID, size)
		}
		if other, twice := seen[m.ID]; twice {
			return fmt.Errorf("members %q and %q share id %d", other, m.Name, m.ID)
		}
		seen[m.ID] = m.Name
	}
	return nil
}
