package placement

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ringway/events"
)

func drawShards(t *rapid.T) (ids []string) {
	for i := range rapid.IntRange(1, 20).Draw(t, "shards") {
		ids = append(ids, fmt.Sprintf("sh%d", i+1))
	}
	return ids
}

func drawGiven(t *rapid.T, shards []string, n int) (given [][]string) {
	for range n {
		var ids []string
		if rapid.IntRange(0, 2).Draw(t, "given") > 0 {
			ids = rapid.SliceOfNDistinct(rapid.SampledFrom(shards), 0, len(shards), rapid.ID[string]).Draw(t, "placed")
		}
		given = append(given, ids)
	}
	return given
}

func TestLayout_NothingGivenIsSpreadEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards, n, copies := drawShards(t), rapid.IntRange(1, 12).Draw(t, "n"), rapid.IntRange(1, 8).Draw(t, "copies")
		placed := Layout(shards, make([][]string, n), copies)
		count := map[string]int{}
		fewest, maxHeldEvents := len(shards), 0
		for _, ids := range placed {
			fewest, maxHeldEvents = min(fewest, len(ids)), max(maxHeldEvents, len(ids))
			for i, id := range ids {
				if slices.Contains(ids[:i], id) {
					t.Fatalf("%s is twice on one server: %v", id, placed)
				}
				count[id]++
			}
		}
		for _, id := range shards {
			if count[id] != min(copies, n) {
				t.Fatalf("%s has %d copies, want %d: %v", id, count[id], min(copies, n), placed)
			}
		}
		if maxHeldEvents-fewest > 1 {
			t.Fatalf("loads from %d to %d: %v", fewest, maxHeldEvents, placed)
		}
	})
}

func TestLayout_WhatIsGivenStandsAndNoShardIsForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards, n, copies := drawShards(t), rapid.IntRange(1, 12).Draw(t, "n"), rapid.IntRange(1, 8).Draw(t, "copies")
		given := drawGiven(t, shards, n)
		placed := Layout(shards, given, copies)
		before, after, free := map[string]int{}, map[string]int{}, 0
		for i, ids := range given {
			if len(ids) == 0 {
				free++
			}
			for _, id := range ids {
				before[id]++
			}
			if !slices.Equal(placed[i][:len(ids)], ids) {
				t.Fatalf("%v was given, %v is placed", ids, placed[i])
			}
			for j, id := range placed[i] {
				after[id]++
				if slices.Contains(placed[i][:j], id) {
					t.Fatalf("%s is twice on one server: %v", id, placed)
				}
				if j >= len(ids) && len(ids) > 0 && before[id] > 0 && slices.ContainsFunc(given, func(g []string) bool { return slices.Contains(g, id) }) {
					t.Fatalf("server %d was given %v and got %s, which others keep", i, ids, id)
				}
			}
		}
		for _, id := range shards {
			want := max(before[id], min(copies, before[id]+free))
			if before[id] == 0 {
				want = min(copies, n)
			}
			if after[id] != want {
				t.Fatalf("%s has %d copies, want %d (%d given, %d of %d servers free)", id, after[id], want, before[id], free, n)
			}
		}
	})
}

func TestShare_NewServersTakeTheMeanOfTheRarestShards(t *testing.T) {
	f := func(old, added, want [][]string) {
		t.Helper()
		if got := Share([]string{"a", "b", "c"}, old, added); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v beside %v: got %v, want %v", added, old, got, want)
		}
	}
	f([][]string{{"a", "b"}, {"b", "c"}}, [][]string{{}}, [][]string{{"a"}})
	f([][]string{{"a", "b", "c"}, {"a", "b", "c"}, {"a", "b", "c"}}, [][]string{{}}, [][]string{{"a", "b"}})
	f([][]string{{"a", "b"}}, [][]string{{"c"}, {}}, [][]string{{"c"}, {"a"}})
}

func TestRemovalPlan_NeverGivesUpTheLastGoodCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := drawShards(t)
		var db events.Database
		c := &RemovalPlan{good: map[string]map[string]bool{}, left: map[string]int{}}
		for i, ids := range drawGiven(t, shards, rapid.IntRange(1, 9).Draw(t, "n")) {
			srv := events.ShardServer{Name: fmt.Sprintf("S%d", i), ID: i + 1, Shards: ids}
			db.Servers = append(db.Servers, srv)
			c.good[srv.Name] = map[string]bool{}
			for _, id := range ids {
				if rapid.IntRange(0, 4).Draw(t, "good") > 0 {
					c.good[srv.Name][id] = true
					c.left[id]++
				}
			}
		}
		c.servers = slices.Clone(db.Servers)
		n := rapid.IntRange(1, len(db.Servers)).Draw(t, "remove")
		good := c.good
		names, ok := c.Pick(n, rapid.Permutation(indexes(len(db.Servers))).Draw(t, "order"))
		if possible := anyWay(db.Servers, good, n); ok != possible {
			t.Fatalf("removing %d of %v: found %v (%v), possible is %v", n, db.Servers, ok, names, possible)
		}
		if ok && (len(names) != n || !harmless(db.Servers, good, names)) {
			t.Fatalf("removing %v of %v loses a shard", names, db.Servers)
		}
	})
}

func indexes(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// harmless: each shard that a removed server keeps has a good copy left.
func harmless(servers []events.ShardServer, good map[string]map[string]bool, removed []string) bool {
	for _, srv := range servers {
		if !slices.Contains(removed, srv.Name) {
			continue
		}
		for _, id := range srv.Shards {
			if !slices.ContainsFunc(servers, func(o events.ShardServer) bool { return !slices.Contains(removed, o.Name) && good[o.Name][id] }) {
				return false
			}
		}
	}
	return true
}

// anyWay tries every set of n servers.
func anyWay(servers []events.ShardServer, good map[string]map[string]bool, n int) bool {
	for set := range 1 << len(servers) {
		var names []string
		for i, srv := range servers {
			if set>>i&1 == 1 {
				names = append(names, srv.Name)
			}
		}
		if len(names) == n && harmless(servers, good, names) {
			return true
		}
	}
	return false
}
