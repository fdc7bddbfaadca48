package main

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"
)

const pointsEach = 160 // as ketama has it

// ketama is a ring of points; a key belongs to the next point clockwise.
type ketama []point

type point struct {
	at    uint64
	owner int // identity of the member
}

func newKetama(ids []int) ketama {
	k := make(ketama, 0, len(ids)*pointsEach)
	for _, id := range ids {
		name := strconv.AppendInt(nil, int64(id), 10)
		for p := range pointsEach {
			k = append(k, point{xxh3.Hash(strconv.AppendInt(append(name, '-'), int64(p), 10)), id})
		}
	}
	slices.SortFunc(k, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	return k
}

// shares are exact: the arcs that end at a member's points.
func (k ketama) shares() map[int]float64 {
	shares := map[int]float64{}
	before := k[len(k)-1].at
	for _, p := range k {
		shares[p.owner] += float64(p.at-before) / (1 << 64) // the first arc wraps around
		before = p.at
	}
	return shares
}

// moved is the part of the keys that another member owns in b.
func (k ketama) moved(b ketama) float64 {
	sum, i, j, at := 0.0, 0, 0, uint64(0)
	for i < len(k) || j < len(b) {
		owner, other := k[i%len(k)].owner, b[j%len(b)].owner
		next := ^uint64(0)
		if i < len(k) {
			next = k[i].at
		}
		if j < len(b) {
			next = min(next, b[j].at)
		}
		if owner != other {
			sum += float64(next-at) / (1 << 64)
		}
		at = next
		for i < len(k) && k[i].at <= at {
			i++
		}
		for j < len(b) && b[j].at <= at {
			j++
		}
	}
	if k[0].owner != b[0].owner {
		sum += float64(-at) / (1 << 64)
	}
	return sum
}
