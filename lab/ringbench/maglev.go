package main

import (
	"strconv"

	"github.com/zeebo/xxh3"
)

const maglevSize = 65537 // the paper's, a prime

// newMaglev fills the lookup table as section 3.4 of the Maglev paper does:
// members take turns, each the next free entry of its own permutation.
func newMaglev(ids []int) []int {
	type turn struct{ at, skip int }
	turns := make([]turn, len(ids))
	for i, id := range ids {
		name := strconv.Itoa(id)
		turns[i] = turn{int(xxh3.HashStringSeed(name, 1) % maglevSize), int(xxh3.HashStringSeed(name, 2)%(maglevSize-1)) + 1}
	}
	table := make([]int, maglevSize)
	for i := range table {
		table[i] = -1
	}
	for filled := 0; ; {
		for i := range turns {
			t := &turns[i]
			for table[t.at] >= 0 {
				t.at = (t.at + t.skip) % maglevSize
			}
			table[t.at] = ids[i]
			if filled++; filled == maglevSize {
				return table
			}
		}
	}
}
