package ring

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func balanced(t testing.TB, size int, members []Member, prev *Table) *Table {
	t.Helper()
	table, err := Balanced(size, members, prev)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// exactShare is what a member would own if slots could be cut.
func exactShare(size int, members []Member, i int) float64 {
	sum := 0.0
	for _, m := range members {
		sum += m.Weight
	}
	return float64(size) * members[i].Weight / sum
}

// moved is the number of slots whose owner has another name.
func moved(before, after *Table) int {
	n := 0
	for s := range after.Size() {
		if was := before.Owner(s); was < 0 || before.members[was].Name != after.members[after.Owner(s)].Name {
			n++
		}
	}
	return n
}

// leastMoves is the least that any table of rounded shares has to move.
func leastMoves(before *Table, members []Member) int {
	owned := map[string]int{}
	for i, n := range before.Shares() {
		owned[before.members[i].Name] = n
	}
	size, kept, spare, willing := before.Size(), 0, before.Size(), 0
	for i, m := range members {
		exact := exactShare(size, members, i)
		down := int(math.Floor(exact + 1e-9))
		spare -= down
		kept += min(owned[m.Name], down)
		if owned[m.Name] > down && exact-float64(down) > 1e-9 {
			willing++
		}
	}
	return size - kept - min(spare, willing)
}

func drawMembers(t *rapid.T, label string) []Member {
	names := rapid.SliceOfNDistinct(rapid.IntRange(0, 60), 1, 40, rapid.ID[int]).Draw(t, label)
	members := make([]Member, len(names))
	for i, n := range names {
		weight := float64(rapid.SampledFrom([]int{1, 1, 1, 2, 3, 7, 100}).Draw(t, "weight"))
		members[i] = Member{Name: fmt.Sprintf("m%d", n), ID: n + 1, Weight: weight}
	}
	return members
}

func TestBalanced_IsFairAndMovesOnlyWhatMustMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{1, 7, 64, 100, 512, 1000}).Draw(t, "size")
		members := drawMembers(t, "first")
		table, err := Balanced(size, members, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			members = drawMembers(t, "next")
			next, err := Balanced(size, members, table)
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range next.Shares() {
				if want := exactShare(size, members, i); math.Abs(float64(got)-want) >= 1 {
					t.Fatalf("member %d owns %d slots, its exact share is %v", i, got, want)
				}
			}
			if got, want := moved(table, next), leastMoves(table, members); got != want {
				t.Fatalf("%d slots moved, %d had to", got, want)
			}
			table = next
		}
	})
}

func TestBalanced_NeedsNoMoveWithoutAChange(t *testing.T) {
	members := servers(7)
	table := balanced(t, 16384, members, nil)
	again := balanced(t, 16384, members, table)
	if n := moved(table, again); n != 0 {
		t.Fatalf("%d slots moved for nothing", n)
	}
}

func TestBalanced_IgnoresTheOrderOfMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawMembers(t, "before"), drawMembers(t, "after")
		owners := func(before, after []Member) []string {
			prev, err := Balanced(300, before, nil)
			if err != nil {
				t.Fatal(err)
			}
			table, err := Balanced(300, after, prev)
			if err != nil {
				t.Fatal(err)
			}
			names := make([]string, 300)
			for s := range names {
				names[s] = after[table.Owner(s)].Name
			}
			return names
		}
		want := owners(before, after)
		if got := owners(rapid.Permutation(before).Draw(t, "b"), rapid.Permutation(after).Draw(t, "a")); !slices.Equal(got, want) {
			t.Fatalf("another order gives another table")
		}
	})
}

// worstSpill is, over all members that could die, the most that one survivor
// takes over, relative to the mean.
func worstSpill(table *Table) float64 {
	worst := 0.0
	for dead, share := range table.Shares() {
		var skip Set
		skip.Add(dead)
		extra := make([]int, len(table.members))
		for s := range table.Size() {
			if table.Owner(s) == dead {
				_, heir := table.Next(s, &skip)
				extra[heir]++
			}
		}
		mean := float64(share) / float64(len(table.members)-1)
		worst = max(worst, float64(slices.Max(extra))/mean)
	}
	return worst
}

func TestBalanced_ADeadMembersSlotsSpillOverAllSurvivors(t *testing.T) {
	for n := 2; n <= 10; n++ {
		if worst := worstSpill(balanced(t, 16384, servers(n), nil)); worst > 1.5 {
			t.Errorf("%d members: one survivor takes %.2f times the mean", n, worst)
		}
	}
}

func TestBalanced_SpillsEvenlyAfterManyChanges(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	members := servers(5)
	table := balanced(t, 16384, members, nil)
	for change := range 300 {
		if len(members) == 10 || len(members) > 2 && r.IntN(2) == 0 {
			i := r.IntN(len(members))
			members = slices.Delete(slices.Clone(members), i, i+1)
		} else {
			members = append(slices.Clone(members), Member{Name: fmt.Sprintf("new-%d", change), ID: 100 + change, Weight: 1})
		}
		table = balanced(t, 16384, members, table)
		if worst := worstSpill(table); worst > 1.5 {
			t.Fatalf("change %d, %d members: one survivor takes %.2f times the mean", change, len(members), worst)
		}
	}
}

func TestBalanced_KeepsWhatItCanOfAnotherSize(t *testing.T) {
	small := balanced(t, 1024, servers(4), nil)
	big := balanced(t, 4096, servers(4), small)
	for hash := uint64(1); hash != 0; hash <<= 1 {
		if small.Owner(small.Slot(hash)) != big.Owner(big.Slot(hash)) {
			t.Fatalf("hash %d changed its owner because the table grew", hash)
		}
	}
}

func TestBalanced_DoesNotInheritTheRunsOfCourse(t *testing.T) {
	table := balanced(t, 512, servers(3), course(t, 3))
	if !slices.Equal(table.Slots(), balanced(t, 512, servers(3), nil).Slots()) {
		t.Fatal("slots of a course table were kept")
	}
}

func TestBalanced_OutlivesAnEmptyService(t *testing.T) {
	empty := balanced(t, 64, nil, balanced(t, 64, servers(3), nil))
	for s := range 64 {
		if empty.Owner(s) != -1 {
			t.Fatalf("slot %d belongs to member %d of none", s, empty.Owner(s))
		}
	}
	if table := balanced(t, 64, servers(1), empty); table.Shares()[0] != 64 {
		t.Fatalf("the only member owns %d of 64 slots", table.Shares()[0])
	}
}

func TestBalanced_SharesExtremeWeights(t *testing.T) {
	f := func(want []int, weights ...float64) {
		t.Helper()
		members := servers(len(weights))
		for i, w := range weights {
			members[i].Weight = w
		}
		if got := balanced(t, 1000, members, nil).Shares(); !slices.Equal(got, want) {
			t.Errorf("weights %v own %v slots, want %v", weights, got, want)
		}
	}
	f([]int{500, 500}, math.MaxFloat64, math.MaxFloat64)
	f([]int{500, 500}, math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat64)
	f([]int{1000, 0}, math.MaxFloat64, math.SmallestNonzeroFloat64)
	f([]int{250, 250, 250, 250}, 0.1, 0.1, 0.1, 0.1)
	f([]int{200, 800}, 1, 4)
	f([]int{167, 333, 500}, 1, 2, 3) // 3 ÷ 6 must not come out a little above one half
}

func TestBalanced_RefusesWhatCannotBe(t *testing.T) {
	f := func(size int, members []Member, want string) {
		t.Helper()
		if _, err := Balanced(size, members, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f(0, servers(1), "0 slots are out of range")
	f(MaxSize+1, servers(1), "65537 slots are out of range")
	f(64, servers(MaxMembers+1), "65536 members are too many")
	f(64, []Member{{Name: "a", Weight: 1}, {Name: "a", Weight: 1}}, `"a" is named twice`)
	for _, w := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		f(64, []Member{{Name: "a", Weight: w}}, "has weight")
	}
}
