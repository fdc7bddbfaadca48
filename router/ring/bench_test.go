package ring

import (
	"fmt"
	"testing"
)

// BenchmarkLookup is slot and owner without the hash.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{3, 100, 10_000} {
		size := 16384
		if n > 1000 {
			size = MaxSize
		}
		table := balanced(b, size, servers(n), nil)
		b.Run(fmt.Sprintf("balanced/%d", n), func(b *testing.B) { lookup(b, table) })
	}
	drawn := course(b, 3)
	routed, err := FromSlots(drawn.Slots(), drawn.Members(), Requests(512, Official().H))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("course/3", func(b *testing.B) { lookup(b, routed) })
}

func lookup(b *testing.B, table *Table) {
	b.ReportAllocs()
	hash, sum := uint64(1), 0
	for b.Loop() {
		hash = hash*0xd1342543de82ef95 + 1
		sum += table.Owner(table.Slot(hash))
	}
	sink += sum
}

// BenchmarkNext tries all members but the last one found.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		table := balanced(b, 16384, servers(n), nil)
		for _, down := range []int{1, n - 1} {
			b.Run(fmt.Sprintf("%d of %d down", down, n), func(b *testing.B) {
				b.ReportAllocs()
				hash := uint64(1)
				for b.Loop() {
					hash = hash*0xd1342543de82ef95 + 1
					var skip Set
					slot := table.Slot(hash)
					owner := table.Owner(slot)
					for range down {
						skip.Add(owner)
						slot, owner = table.Next(slot, &skip)
					}
					sink += owner
				}
			})
		}
	}
}

// BenchmarkBalanced removes one member and adds it again.
func BenchmarkBalanced(b *testing.B) {
	for _, c := range []struct{ members, size int }{{3, 16384}, {1000, 16384}, {10_000, MaxSize}} {
		b.Run(fmt.Sprintf("%d members, %d slots", c.members, c.size), func(b *testing.B) {
			all := servers(c.members)
			table := balanced(b, c.size, all, nil)
			b.ReportAllocs()
			for b.Loop() {
				table = balanced(b, c.size, all[1:], table)
				table = balanced(b, c.size, all, table)
			}
		})
	}
}

func BenchmarkCourse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		course(b, 56)
	}
}
