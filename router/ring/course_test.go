package ring

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func servers(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Name: fmt.Sprintf("server-%d", i+1), ID: i + 1, Weight: 1}
	}
	return members
}

func course(t testing.TB, n int) *Table {
	t.Helper()
	table, err := Course(512, 9, servers(n), Official())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// shareOf is the percentage of all request ids that each member gets.
func shareOf(t *Table, ids uint64) []float64 {
	count := make([]float64, len(t.members))
	for i := range ids {
		count[t.Owner(t.Slot(i))]++
	}
	for i := range count {
		count[i] *= 100 / float64(ids)
	}
	return count
}

func TestCourse_GivesTheSharesOfTheOfficialFunctions(t *testing.T) {
	f := func(want ...float64) {
		t.Helper()
		table := course(t, len(want))
		for i, got := range shareOf(table, 512*1757) { // whole periods of H
			if math.Abs(got-want[i]) > 0.0051 {
				t.Errorf("%d servers: server %d gets %.3f%%, want %.2f%%", len(want), i+1, got, want[i])
			}
		}
		for i, got := range shareOf(table, requestIDs) { // the last period is cut off
			if math.Abs(got-want[i]) > 0.02 {
				t.Errorf("%d servers: server %d gets %.3f%% of all six-digit ids, want %.2f%%", len(want), i+1, got, want[i])
			}
		}
	}
	f(95.31, 4.69)
	f(84.37, 4.69, 10.94)
	f(82.03, 4.69, 10.16, 3.12)
	f(79.69, 3.12, 9.38, 3.12, 4.69)
	f(78.91, 3.12, 9.38, 3.12, 4.69, 0.78)
}

func TestCourse_PlacesServersWhereTheHandoutDoes(t *testing.T) {
	want := [][]int{
		{26, 29, 34, 41, 50, 61, 74, 89, 106},
		{30, 32, 37, 44, 53, 64, 77, 92, 109},
		{35, 38, 42, 49, 58, 69, 82, 97, 114},
	}
	table := course(t, 3)
	for i, slots := range want {
		for _, s := range slots {
			if got := table.Owner(s); got != i {
				t.Errorf("slot %d belongs to member %d, want %d", s, got, i)
			}
		}
	}
	// Slots in between, after the last and before the first.
	for slot, owner := range map[int]int{31: 1, 43: 1, 98: 0, 110: 2, 114: 2, 115: 0, 511: 0, 0: 0, 25: 0} {
		if got := table.Owner(slot); got != owner {
			t.Errorf("slot %d belongs to member %d, want %d", slot, got, owner)
		}
	}
	if slot := table.Slot(132574 - FirstRequest); slot != 81 || table.Owner(slot) != 2 {
		t.Errorf("request 132574: slot %d, owner %d; want slot 81, owner 2", slot, table.Owner(slot))
	}
}

func TestCourse_RefusesTheFiftySeventhServer(t *testing.T) {
	full := course(t, 56)
	for i, share := range full.Shares() {
		if share < 9 {
			t.Errorf("server %d of 56 has %d slots, want at least 9", i+1, share)
		}
	}
	_, err := Course(512, 9, servers(57), Official())
	if err == nil || !strings.Contains(err.Error(), "57 members do not fit; 512 slots have room for 56") {
		t.Fatalf("57 servers: %v", err)
	}
}

func TestCourse_IgnoresTheOrderOfMembers(t *testing.T) {
	members := servers(6)
	slices.Reverse(members)
	backwards, err := Course(512, 9, members, Official())
	if err != nil {
		t.Fatal(err)
	}
	forwards := course(t, 6)
	for s := range 512 {
		if forwards.Owner(s) != 5-backwards.Owner(s) {
			t.Fatalf("slot %d: member %d forwards, %d backwards", s, forwards.Owner(s), backwards.Owner(s))
		}
	}
}

func TestCourse_ARouterDrawsTheSameSlots(t *testing.T) {
	built := course(t, 3)
	routed, err := FromSlots(built.Slots(), built.Members(), Requests(512, Official().H))
	if err != nil {
		t.Fatal(err)
	}
	for hash := uint64(0); hash < 3*requestIDs; hash += 101 {
		if built.Slot(hash) != routed.Slot(hash) {
			t.Fatalf("hash %d: slot %d as built, %d as routed", hash, built.Slot(hash), routed.Slot(hash))
		}
	}
}

func TestCourse_RefusesWhatItCannotPlace(t *testing.T) {
	f := func(size, k int, members []Member, fn Functions, want string) {
		t.Helper()
		if _, err := Course(size, k, members, fn); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	two := servers(2)
	f(0, 9, two, Official(), "0 slots are out of range")
	f(MaxSize+1, 9, two, Official(), "65537 slots are out of range")
	f(512, 0, two, Official(), "0 virtual members")
	f(512, 513, nil, Official(), "513 virtual members")
	f(512, 9, two, Functions{}, "missing")
	f(512, 9, []Member{{Name: "a", ID: 1}, {Name: "b", ID: 1}}, Official(), `"a" and "b" share id 1`)
	f(512, 9, []Member{{Name: "a", ID: 1}, {Name: "a", ID: 2}}, Official(), `"a" is named twice`)
	f(512, 9, []Member{{Name: "a", ID: 0}}, Official(), "id 0")
}

func TestCourse_WithoutMembersNobodyOwnsAnything(t *testing.T) {
	table := course(t, 0)
	for s := range table.Size() {
		if table.Owner(s) != -1 {
			t.Fatalf("slot %d belongs to member %d of none", s, table.Owner(s))
		}
	}
}
