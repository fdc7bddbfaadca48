package ring

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringway/internal/testkit"
)

func fromSlots(t testing.TB, slots []uint16, members int) *Table {
	t.Helper()
	table, err := FromSlots(slots, servers(members), nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestTable_CutsTheHashesIntoEqualSlots(t *testing.T) {
	f := func(size int, hash uint64, want int) {
		t.Helper()
		if got := fromSlots(t, make([]uint16, size), 1).Slot(hash); got != want {
			t.Errorf("hash %#x in %d slots: slot %d, want %d", hash, size, got, want)
		}
	}
	f(1, 1<<64-1, 0)
	f(4, 0, 0)
	f(4, 1<<62-1, 0)
	f(4, 1<<62, 1)
	f(4, 1<<64-1, 3)
	f(3, 1<<63, 1)
	f(MaxSize, 1<<64-1, MaxSize-1)
}

func TestTable_NextGoesClockwiseToAnotherOwner(t *testing.T) {
	table := fromSlots(t, []uint16{0, 0, 1, noOwner, 2, 1}, 4)
	f := func(slot, wantSlot, wantOwner int, skip ...int) {
		t.Helper()
		var set Set
		for _, m := range skip {
			set.Add(m)
		}
		if s, o := table.Next(slot, &set); s != wantSlot || o != wantOwner {
			t.Errorf("after slot %d without %v: slot %d, owner %d; want %d, %d", slot, skip, s, o, wantSlot, wantOwner)
		}
	}
	f(0, 2, 1, 0)
	f(2, 4, 2, 1)
	f(2, 0, 0, 1, 2)
	f(5, 4, 2, 0, 1)
	f(4, 4, 2, 0, 1) // its own slot comes last
	f(0, 1, 0)       // whom to leave out is the caller's word alone
	f(0, -1, -1, 0, 1, 2)
	f(0, -1, -1, 0, 1, 2, 3)
	f(-1, -1, -1)
	f(6, -1, -1)
}

func TestTable_NextReachesEveryOwnerOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(1, 40).Draw(t, "members")
		owner := rapid.Custom(func(t *rapid.T) uint16 {
			return uint16(rapid.SampledFrom([]int{noOwner, 0, rapid.IntRange(0, members-1).Draw(t, "m")}).Draw(t, "owner"))
		})
		slots := rapid.SliceOfN(owner, 1, 100).Draw(t, "slots")
		table, err := FromSlots(slots, servers(members), nil)
		if err != nil {
			t.Fatal(err)
		}
		var tried Set
		slot, laps := rapid.IntRange(0, len(slots)-1).Draw(t, "slot"), 0
		for {
			next, owner := table.Next(slot, &tried)
			if owner < 0 {
				break
			}
			if table.Owner(next) != owner || tried.Has(owner) {
				t.Fatalf("slot %d gives owner %d; the table says %d, tried before: %v", next, owner, table.Owner(next), tried.Has(owner))
			}
			if next <= slot {
				laps++
			}
			tried.Add(owner)
			slot = next
		}
		if laps > 1 {
			t.Fatalf("all choices took %d laps", laps)
		}
		for i, share := range table.Shares() {
			if tried.Has(i) != (share > 0) {
				t.Fatalf("member %d owns %d slots; tried: %v", i, share, tried.Has(i))
			}
		}
	})
}

func TestTable_ZeroHasNoOwners(t *testing.T) {
	var table Table
	var skip Set
	if got := table.Owner(table.Slot(1 << 63)); got != -1 {
		t.Errorf("a slot belongs to member %d of none", got)
	}
	if slot, owner := table.Next(0, &skip); slot != -1 || owner != -1 {
		t.Errorf("the next choice is member %d of none, at slot %d", owner, slot)
	}
}

func TestTable_DoesNotShareMemoryWithCallers(t *testing.T) {
	slots, members := []uint16{0, 1, 1}, servers(2)
	table, err := FromSlots(slots, members, nil)
	if err != nil {
		t.Fatal(err)
	}
	slots[0], members[0].Name = 1, "changed"
	table.Slots()[0], table.Members()[0].Name = 1, "changed"
	if table.Owner(0) != 0 || table.Members()[0].Name != "server-1" {
		t.Fatal("the table changed with its arguments or results")
	}
}

func TestFromSlots_RefusesWhatCannotBe(t *testing.T) {
	f := func(slots []uint16, members []Member, requests []uint16, want string) {
		t.Helper()
		if _, err := FromSlots(slots, members, requests); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f([]uint16{0, 2}, servers(2), nil, "slot 1 names member 2 of 2")
	f([]uint16{0}, nil, nil, "slot 0 names member 0 of 0")
	f(nil, servers(1), nil, "0 slots are out of range")
	f(make([]uint16, MaxSize+1), servers(1), nil, "65537 slots are out of range")
	f([]uint16{0, 0}, []Member{{Name: "a"}, {Name: "a"}}, nil, `"a" is named twice`)
	f([]uint16{0}, servers(1), make([]uint16, 10), "slots of 10 request ids")
	f(make([]uint16, 100), servers(1), Requests(512, Official().H), "request 100000 has slot")
}

// FuzzFromSlots lets a route contain anything: what is accepted answers every call.
func FuzzFromSlots(f *testing.F) {
	f.Add([]byte{0, 1, 255}, 2, uint64(1<<63))
	f.Add([]byte{}, 0, uint64(0))
	f.Add([]byte{3}, 1, uint64(7))
	f.Fuzz(func(t *testing.T, raw []byte, members int, hash uint64) {
		slots := make([]uint16, len(raw))
		for i, b := range raw {
			if slots[i] = uint16(b); b == 255 {
				slots[i] = noOwner
			}
		}
		table, err := FromSlots(slots, servers(max(0, members%300)), nil)
		if err != nil {
			return
		}
		if !slices.Equal(table.Slots(), slots) {
			t.Fatal("the table has other slots than it was given")
		}
		slot := table.Slot(hash)
		if slot < 0 || slot >= max(1, table.Size()) {
			t.Fatalf("slot %d of %d", slot, table.Size())
		}
		var skip Set
		skip.Add(max(0, table.Owner(slot)))
		if next, owner := table.Next(slot, &skip); owner >= 0 && (skip.Has(owner) || table.Owner(next) != owner) {
			t.Fatalf("next choice %d at slot %d", owner, next)
		}
		if _, err := Balanced(100, table.Members(), table); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSet_HoldsAnyMember(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var set Set
		want := map[int]bool{}
		member := rapid.OneOf(rapid.IntRange(0, 70), rapid.IntRange(inSet-2, inSet+130), rapid.IntRange(0, MaxMembers-1))
		for _, m := range rapid.SliceOf(member).Draw(t, "members") {
			set.Add(m)
			want[m] = true
		}
		for _, m := range rapid.SliceOf(member).Draw(t, "asked") {
			if set.Has(m) != want[m] {
				t.Fatalf("Has(%d) is %v", m, set.Has(m))
			}
		}
		if set.Len() != len(want) {
			t.Fatalf("Len is %d of %d", set.Len(), len(want))
		}
	})
}

var sink int

func TestAllocs_LookupAndNextChoicesAreFree(t *testing.T) {
	big := balanced(t, 16384, servers(1000), nil)
	drawn := course(t, 56)
	routed, err := FromSlots(drawn.Slots(), drawn.Members(), Requests(512, Official().H))
	if err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]*Table{"balanced": big, "course": drawn, "course, routed": routed} {
		hash := uint64(0x9e3779b97f4a7c15)
		allocs := testkit.Allocs(100, func() {
			var skip Set
			slot := table.Slot(hash)
			for owner := table.Owner(slot); owner >= 0; {
				skip.Add(owner)
				slot, owner = table.Next(slot, &skip)
				sink += owner
			}
			hash *= 3
		})
		if allocs != 0 {
			t.Errorf("%s: a round over all members allocates %v times", name, allocs)
		}
	}
}
